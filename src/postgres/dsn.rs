//! Connection strings to parameters: `postgres://` URLs and `key=value` strings, by libpq's rules
//! (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>).
//!
//! Nothing here knows what a parameter means. No error quotes any part of the string except a plain parameter
//! name, because a string that does not parse may hold its password anywhere.

use std::fmt;

/// One parameter of a connection string, in the order written.
#[derive(Clone, PartialEq, Eq)]
pub struct Param {
    /// The parameter's name.
    pub name: String,
    /// Its decoded value.
    pub value: String,
    /// Whether the name may be a fragment of a badly quoted password and must not be shown.
    pub doubtful: bool,
}

impl fmt::Debug for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.doubtful { "Param(***)" } else { "Param" })
    }
}

/// Why a connection string does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DsnError {
    /// Neither form.
    #[error(
        "the connection string is neither a URL (postgres://user@host:5432/database) nor key=value pairs (host=… dbname=…)"
    )]
    Unrecognised,
    /// A URL of something else.
    #[error("the connection URL must start with postgres:// or postgresql://")]
    Scheme,
    /// An `@` or `/` where none can be: the password was not encoded.
    #[error(
        "the connection URL cannot be split into its parts: percent-encode the password (@ is %40, / is %2F, : is %3A, ? is %3F, # is %23, % is %25)"
    )]
    EncodePassword,
    /// A `%` that is not followed by two hexadecimal digits.
    #[error(
        "the {0} in the connection URL holds a % that is not followed by two hexadecimal digits (percent-encode % as %25)"
    )]
    Percent(&'static str),
    /// `%00`.
    #[error("the {0} in the connection URL holds a %00")]
    Zero(&'static str),
    /// Decoded bytes are no text.
    #[error("the {0} in the connection URL is not UTF-8 text")]
    Utf8(&'static str),
    /// `[` without `]`.
    #[error("the IPv6 address in the connection URL lacks its closing bracket")]
    OpenBracket,
    /// `[]`.
    #[error("the IPv6 address in the connection URL is empty")]
    EmptyBrackets,
    /// Something odd after `]`.
    #[error("the connection URL goes on with an unexpected character after the IPv6 address")]
    AfterBracket,
    /// A query parameter that is not `name=value`.
    #[error("parameter {0} of the connection URL is not of the form name=value")]
    QueryParameter(usize),
    /// A word without `=`.
    #[error(
        "word {0} of the connection string lacks its = (a value with spaces must stand in single quotes)"
    )]
    MissingEquals(usize),
    /// A quote that does not end.
    #[error("a quoted value in the connection string lacks its closing quote")]
    OpenQuote,
}

/// Splits a connection string into parameters. A bare word is a database name, as for psql.
pub fn parse(text: &str) -> Result<Vec<Param>, DsnError> {
    for scheme in ["postgresql://", "postgres://"] {
        if let Some(rest) = text.strip_prefix(scheme) {
            return parse_url(rest);
        }
    }
    match (text.find("://"), text.find('=')) {
        (Some(scheme), equals) if equals.is_none_or(|equals| scheme < equals) => Err(DsnError::Scheme),
        (_, Some(_)) => parse_pairs(text),
        (_, None) if text.is_empty() || text.contains(['/', ':', '@', '?', ' ']) => {
            Err(DsnError::Unrecognised)
        }
        (_, None) => Ok(vec![param("dbname", text.to_owned())]),
    }
}

fn param(name: &str, value: String) -> Param {
    Param { name: name.to_owned(), value, doubtful: false }
}

/// `[user[:password]@][host][:port][,…][/database][?name=value&…]`
fn parse_url(rest: &str) -> Result<Vec<Param>, DsnError> {
    let mut params = Vec::new();
    // libpq ends the user part at the first '@', if one comes before the first '/'.
    let after_user = match rest.find(['@', '/']) {
        Some(at) if rest[at..].starts_with('@') => {
            let (user, password) = match rest[..at].split_once(':') {
                Some((user, password)) => (user, password),
                None => (&rest[..at], ""),
            };
            if !user.is_empty() {
                params.push(param("user", decode(user, "user")?));
            }
            if !password.is_empty() {
                params.push(param("password", decode(password, "password")?));
            }
            &rest[at + 1..]
        }
        _ => rest,
    };
    let (place, query) = match after_user.split_once('?') {
        Some((place, query)) => (place, Some(query)),
        None => (after_user, None),
    };
    // A second '@', or one behind a '/' where a port should be, is a password that was not encoded. Going on would
    // show a piece of it as the host's name.
    let split_password = after_user.len() == rest.len() && has_odd_port(place) && rest.contains('@');
    if place.contains('@') || split_password {
        return Err(DsnError::EncodePassword);
    }
    let path = parse_hosts(place, &mut params)?;
    if !path.is_empty() {
        params.push(param("dbname", decode(path, "database name")?));
    }
    if let Some(query) = query {
        parse_query(query, &mut params)?;
    }
    Ok(params)
}

fn has_odd_port(place: &str) -> bool {
    let netloc = place.split('/').next().unwrap_or_default();
    let port = netloc.split(',').next().unwrap_or_default().rsplit_once(':').map_or("", |(_, port)| port);
    !netloc.starts_with('[') && !port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads `host:port,host:port` and returns what follows the `/`.
fn parse_hosts<'a>(mut rest: &'a str, params: &mut Vec<Param>) -> Result<&'a str, DsnError> {
    let (mut hosts, mut ports) = (String::new(), String::new());
    let path = loop {
        if let Some(inside) = rest.strip_prefix('[') {
            let end = inside.find(']').ok_or(DsnError::OpenBracket)?;
            if end == 0 {
                return Err(DsnError::EmptyBrackets);
            }
            hosts.push_str(&inside[..end]);
            rest = &inside[end + 1..];
            if !rest.is_empty() && !rest.starts_with([':', '/', ',']) {
                return Err(DsnError::AfterBracket);
            }
        } else {
            let end = rest.find([':', '/', ',']).unwrap_or(rest.len());
            hosts.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        if let Some(after) = rest.strip_prefix(':') {
            let end = after.find(['/', ',']).unwrap_or(after.len());
            ports.push_str(&after[..end]);
            rest = &after[end..];
        }
        match rest.strip_prefix(',') {
            Some(next) => {
                hosts.push(',');
                ports.push(',');
                rest = next;
            }
            None => break rest.strip_prefix('/').unwrap_or_default(),
        }
    };
    if !hosts.is_empty() {
        params.push(param("host", decode(&hosts, "host")?));
    }
    if !ports.is_empty() {
        params.push(param("port", decode(&ports, "port")?));
    }
    Ok(path)
}

fn parse_query(query: &str, params: &mut Vec<Param>) -> Result<(), DsnError> {
    if query.is_empty() {
        return Ok(());
    }
    for (index, item) in query.split('&').enumerate() {
        let malformed = DsnError::QueryParameter(index + 1);
        let (name, value) = item.split_once('=').ok_or_else(|| malformed.clone())?;
        if name.is_empty() || value.contains('=') {
            return Err(malformed);
        }
        let name = decode(name, "parameter name")?;
        let value = decode(value, "parameter value")?;
        // JDBC's spelling, which libpq takes too.
        if name == "ssl" && value == "true" {
            params.push(param("sslmode", "require".to_owned()));
            continue;
        }
        params.push(Param { name, value, doubtful: query.contains('@') });
    }
    Ok(())
}

fn decode(text: &str, what: &'static str) -> Result<String, DsnError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        let value = match after {
            [high, low, ..] => hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        match value {
            None => return Err(DsnError::Percent(what)),
            Some(0) => return Err(DsnError::Zero(what)),
            Some(value) => bytes.push(value),
        }
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| DsnError::Utf8(what))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// `name = value name='a value' …` with backslash escapes.
fn parse_pairs(text: &str) -> Result<Vec<Param>, DsnError> {
    let mut params: Vec<Param> = Vec::new();
    let mut chars = text.chars().peekable();
    let mut after_bare_password = false;
    loop {
        while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(params);
        }
        let mut name = String::new();
        while let Some(c) = chars.next_if(|&c| c != '=' && !c.is_ascii_whitespace()) {
            name.push(c);
        }
        while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        if chars.next() != Some('=') || name.is_empty() {
            return Err(DsnError::MissingEquals(params.len() + 1));
        }
        while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        let quoted = chars.next_if_eq(&'\'').is_some();
        let value = parse_value(&mut chars, quoted)?;
        let bare_password = name == "password" && !quoted;
        params.push(Param { name, value, doubtful: after_bare_password });
        // From an unquoted password on, a name that nobody knows may be the rest of it.
        after_bare_password |= bare_password;
    }
}

fn parse_value(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    quoted: bool,
) -> Result<String, DsnError> {
    let mut value = String::new();
    loop {
        match chars.next() {
            None if quoted => return Err(DsnError::OpenQuote),
            None => return Ok(value),
            Some('\'') if quoted => return Ok(value),
            Some('\\') => value.extend(chars.next()),
            Some(c) if !quoted && c.is_ascii_whitespace() => return Ok(value),
            Some(c) => value.push(c),
        }
    }
}
