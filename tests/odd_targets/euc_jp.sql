-- Two and three bytes for a character, where a byte can look like another character's.
-- servers: 15
-- encoding: EUC_JP
CREATE TABLE "予約" (id int PRIMARY KEY, "名前" text, j jsonb);
INSERT INTO "予約" VALUES (1, '東京ソ表\\', '{"駅": "新宿"}'), (2, E'\x8e\xb1\x8f\xb0\xa1', NULL);

-- damage
UPDATE "予約" SET "名前" = '大阪';
