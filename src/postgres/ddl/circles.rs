//! Circles in a graph: its strongly connected components of more than one node (Tarjan's algorithm, without recursion:
//! a chain of ten thousand views must not overrun the stack).

/// The circles among `nodes`, whose numbers are below `count`; `needs` gives what a node leads to.
pub fn find<I: Iterator<Item = usize>>(
    count: usize,
    nodes: &[usize],
    needs: impl Fn(usize) -> I,
) -> Vec<Vec<usize>> {
    const UNSEEN: usize = usize::MAX;
    let mut number = vec![UNSEEN; count];
    let mut lowest = vec![0; count];
    let mut on_stack = vec![false; count];
    let mut stack = Vec::new();
    let mut circles = Vec::new();
    let mut next = 0;
    for root in nodes {
        if number[*root] != UNSEEN {
            continue;
        }
        let mut path: Vec<(usize, I)> = Vec::new();
        let mut enter = Some(*root);
        loop {
            if let Some(node) = enter.take() {
                number[node] = next;
                lowest[node] = next;
                next += 1;
                stack.push(node);
                on_stack[node] = true;
                path.push((node, needs(node)));
            }
            let Some((node, rest)) = path.last_mut() else { break };
            let node = *node;
            match rest.next() {
                Some(to) if number[to] == UNSEEN => enter = Some(to),
                Some(to) => {
                    if on_stack[to] {
                        lowest[node] = lowest[node].min(number[to]);
                    }
                }
                None => {
                    path.pop();
                    if let Some((above, _)) = path.last() {
                        lowest[*above] = lowest[*above].min(lowest[node]);
                    }
                    if lowest[node] == number[node] {
                        let mut circle = Vec::new();
                        while let Some(member) = stack.pop() {
                            on_stack[member] = false;
                            circle.push(member);
                            if member == node {
                                break;
                            }
                        }
                        if circle.len() > 1 {
                            circles.push(circle);
                        }
                    }
                }
            }
        }
    }
    circles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(edges: &[(usize, usize)], count: usize) -> Vec<Vec<usize>> {
        let nodes: Vec<usize> = (0..count).collect();
        let mut found = find(count, &nodes, |n| {
            edges.iter().filter(|(from, _)| *from == n).map(|(_, to)| *to).collect::<Vec<_>>().into_iter()
        });
        found.iter_mut().for_each(|c| c.sort_unstable());
        found.sort();
        found
    }

    #[test]
    fn circles_are_found_and_what_only_hangs_on_them_is_not() {
        assert!(circles(&[(0, 1), (1, 2), (0, 2)], 3).is_empty());
        assert_eq!(circles(&[(0, 1), (1, 2), (2, 0), (3, 0), (2, 4)], 5), [[0, 1, 2]]);
        assert_eq!(circles(&[(0, 1), (1, 0), (1, 2), (2, 3), (3, 2)], 4), [[0, 1], [2, 3]]);
    }

    #[test]
    fn a_long_chain_takes_no_stack() {
        let nodes: Vec<usize> = (0..200_000).collect();
        assert!(find(200_000, &nodes, |n| (n + 1 < 200_000).then_some(n + 1).into_iter()).is_empty());
    }
}
