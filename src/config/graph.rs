//! The order of the workers: who is after whom, in levels.

/// `after[i]` are the indices that `i` waits for. Answers the level of each, 0 for those that wait for nobody, else one
/// more than the highest of those; or the nodes of a cycle in order, the first one repeated at its end. Runs in steps,
/// not by recursion, since the depth of the graph comes from the file.
pub fn levels(after: &[Vec<usize>]) -> Result<Vec<u32>, Vec<usize>> {
    let mut levels = vec![0u32; after.len()];
    let mut waiting_for = after.iter().map(Vec::len).collect::<Vec<_>>();
    let mut followers = vec![Vec::new(); after.len()];
    for (node, earlier) in after.iter().enumerate() {
        earlier.iter().for_each(|&before| followers[before].push(node));
    }
    let mut ready = (0..after.len()).filter(|&node| waiting_for[node] == 0).collect::<Vec<_>>();
    let mut settled = 0;
    while let Some(node) = ready.pop() {
        settled += 1;
        for &follower in &followers[node] {
            levels[follower] = levels[follower].max(levels[node] + 1);
            waiting_for[follower] -= 1;
            if waiting_for[follower] == 0 {
                ready.push(follower);
            }
        }
    }
    if settled == after.len() { Ok(levels) } else { Err(cycle(after, &waiting_for)) }
}

/// Every node that still waits has one before it that still waits, so that going back must come to a node twice.
fn cycle(after: &[Vec<usize>], waiting_for: &[usize]) -> Vec<usize> {
    let waits = |node: &usize| waiting_for[*node] > 0;
    let mut path = Vec::new();
    let mut place = vec![None; after.len()];
    let mut next = (0..after.len()).find(waits);
    while let Some(node) = next {
        if let Some(start) = place[node] {
            path.drain(..start);
            path.push(node);
            return path;
        }
        place[node] = Some(path.len());
        path.push(node);
        next = after[node].iter().copied().find(waits);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_count_the_longest_way() {
        assert_eq!(levels(&[]), Ok(vec![]));
        assert_eq!(levels(&[vec![], vec![0], vec![0, 1], vec![]]), Ok(vec![0, 1, 2, 0]));
        assert_eq!(levels(&[vec![1, 1], vec![]]), Ok(vec![1, 0]), "named twice");
    }

    #[test]
    fn a_cycle_is_told_in_order_without_those_that_only_lead_to_it() {
        assert_eq!(levels(&[vec![0]]), Err(vec![0, 0]));
        assert_eq!(levels(&[vec![1], vec![2], vec![1], vec![]]), Err(vec![1, 2, 1]));
        assert_eq!(levels(&[vec![], vec![0, 3], vec![1], vec![2]]), Err(vec![1, 3, 2, 1]));
    }

    #[test]
    fn a_chain_of_many_does_not_recurse() {
        let chain = (0..100_000usize).map(|i| i.checked_sub(1).into_iter().collect()).collect::<Vec<Vec<_>>>();
        assert_eq!(levels(&chain).unwrap().last(), Some(&99_999));
    }
}
