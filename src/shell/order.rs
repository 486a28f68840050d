//! In which order items were accepted, and where each of them stands in a file.

/// Items with numbers that follow each other, as they stand in a batch of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    pub first: u64,
    pub count: u64,
    /// Of their frames.
    pub bytes: u64,
}

impl Numbers {
    /// Adds one item to the numbers of a batch. `border`: this number and the next are kept apart.
    pub fn push(numbers: &mut Vec<Numbers>, number: u64, bytes: u64, border: u64) {
        match numbers.last_mut() {
            Some(last) if last.first.saturating_add(last.count) == number && number.checked_sub(1) != Some(border) => {
                last.count += 1;
                last.bytes += bytes;
            }
            Some(_) | None => numbers.push(Numbers { first: number, count: 1, bytes }),
        }
    }
}

/// Where the items that this run has appended to a file stand. It grows with the items of the queue, not with those that
/// a source gives in a stop, whose numbers follow each other.
#[derive(Debug, Default)]
pub struct Order {
    runs: Vec<Run>,
    /// Lines of another writer stand between ours.
    scattered: bool,
}

/// Items with numbers that follow each other, without anything between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub first: u64,
    next: u64,
    pub start: u64,
    pub length: u64,
}

impl Order {
    /// A batch was appended at this offset.
    pub fn add(&mut self, mut start: u64, numbers: &[Numbers]) {
        for &Numbers { first, count, bytes } in numbers {
            let next = first.saturating_add(count);
            match self.runs.last_mut() {
                Some(last) if last.end() == start && last.next == first => {
                    last.next = next;
                    last.length += bytes;
                }
                last => {
                    self.scattered |= last.is_some_and(|last| last.end() != start);
                    self.runs.push(Run { first, next, start, length: bytes });
                }
            }
            start += bytes;
        }
    }

    /// Where they stand is not known any more.
    pub fn forget(&mut self) {
        self.scattered = true;
    }

    /// Whether lines of another writer stand between them, so that they cannot change places.
    pub fn is_scattered(&self) -> bool {
        self.scattered
    }

    /// The part of the file that is out of order: its runs in the order of acceptance. Empty if there is none.
    pub fn displaced(&self) -> Vec<Run> {
        let mut sorted = self.sorted();
        let right = sorted.iter().zip(&self.runs).take_while(|(sorted, run)| sorted == run).count();
        sorted.drain(..right);
        sorted
    }

    /// All runs in the order of acceptance.
    pub fn sorted(&self) -> Vec<Run> {
        let mut sorted = self.runs.clone();
        sorted.sort_by_key(|run| run.first);
        sorted
    }
}

impl Run {
    fn end(&self) -> u64 {
        self.start + self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(list: &[u64]) -> Vec<Numbers> {
        let mut numbers = Vec::new();
        list.iter().for_each(|&number| Numbers::push(&mut numbers, number, 10, 9));
        numbers
    }

    #[test]
    fn numbers_that_follow_each_other_are_one_run() {
        assert_eq!(
            numbers(&[5, 6, 7, 2, 9, 10]),
            [(5, 3, 30), (2, 1, 10), (9, 1, 10), (10, 1, 10)].map(|(first, count, bytes)| Numbers {
                first,
                count,
                bytes
            })
        );
        let mut order = Order::default();
        order.add(100, &numbers(&[5, 6]));
        order.add(120, &numbers(&[7, 8]));
        assert_eq!(order.runs.len(), 1);
        assert!(order.displaced().is_empty() && !order.is_scattered());
    }

    #[test]
    fn what_stands_right_already_is_not_moved() {
        let mut order = Order::default();
        order.add(100, &numbers(&[1, 4, 5, 8]));
        order.add(140, &numbers(&[3, 2]));
        let displaced = order.displaced();
        assert_eq!(displaced.iter().map(|run| run.first).collect::<Vec<_>>(), [2, 3, 4, 8]);
        assert_eq!(displaced.iter().map(|run| run.length).sum::<u64>(), 50);
        assert!(!order.is_scattered());
    }

    #[test]
    fn lines_of_others_in_between_are_noticed() {
        let mut order = Order::default();
        order.add(100, &numbers(&[4]));
        order.add(150, &numbers(&[5]));
        assert!(order.is_scattered() && order.displaced().is_empty());
    }
}
