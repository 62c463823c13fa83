//! From a merge list back to SentencePiece's scores.
//!
//! SentencePiece merges the adjacent pair whose joint is the token of the highest score. The converter to `tokenizer.json` writes
//! that as merges: for every token all pairs that spell it, tokens in the order of their scores, and those of equal scores by the
//! lengths of left and right part, longest first. Where a list has that form, its order gives scores that make the same merges; where
//! it has not, the two rules differ, and the list is refused.

use std::collections::{HashMap, HashSet};

use crate::import::ImportError;

/// The scores of all tokens: `texts` by id, `None` for those that are no plain text; `merges` as left, right and merged id, of
/// such tokens only, most urgent first.
pub(super) fn scores(texts: &[Option<&str>], merges: &[[u32; 3]]) -> Result<Vec<f32>, ImportError> {
    let refuse = |id: usize, why: &str| {
        let text = texts.get(id).copied().flatten().unwrap_or_default();
        Err(ImportError::Tokenizer {
            found: format!("BPE with byte fallback and merges that no scores stand for (token {id}, {text:?}, {why})"),
        })
    };
    let mut scores = vec![None; texts.len()];
    for (group, ranks) in groups(texts.len(), merges).into_iter().enumerate() {
        let merges = &merges[ranks];
        if !is_one_score(texts, merges) {
            let [_, _, merged] = merges[0];
            return refuse(merged as usize, "has merges apart from each other");
        }
        for [_, _, merged] in merges {
            if let Some(score) = scores.get_mut(*merged as usize) {
                *score = Some(-(group as f32));
            }
        }
    }
    // Any pair that spells a token may be merged by scores, so all of them must be in the list.
    let ids: HashMap<&str, u32> = (0..).zip(texts).filter_map(|(id, text)| Some(((*text)?, id))).collect();
    let listed: HashSet<[u32; 2]> = merges.iter().map(|[left, right, _]| [*left, *right]).collect();
    let mut first_listed = None;
    for (id, text) in texts.iter().enumerate() {
        let Some(text) = text else { continue };
        let cuts = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
        let pairs = cuts.filter_map(|(left, right)| Some([*ids.get(left)?, *ids.get(right)?]));
        let (mut all, mut missing) = (0, 0);
        for pair in pairs {
            all += 1;
            missing += usize::from(!listed.contains(&pair));
        }
        match scores.get_mut(id) {
            // The converter takes a score of 0 for none, and so leaves out the very first token's merges.
            Some(score @ None) if all > 0 && missing == all && first_listed.is_none() => *score = Some(1.0),
            _ if missing > 0 => return refuse(id, "is spelled by a pair that is not in the list"),
            _ => {}
        }
        if all > 0 {
            first_listed = first_listed.or(Some(id));
        }
    }
    Ok(scores.into_iter().map(|score| score.unwrap_or(0.0)).collect())
}

/// The list cut where no token has merges on both sides.
fn groups(n_tokens: usize, merges: &[[u32; 3]]) -> Vec<std::ops::Range<usize>> {
    let mut last = vec![0; n_tokens];
    for (rank, [_, _, merged]) in merges.iter().enumerate() {
        if let Some(last) = last.get_mut(*merged as usize) {
            *last = rank;
        }
    }
    let (mut groups, mut start, mut end) = (Vec::new(), 0, 0);
    for (rank, [_, _, merged]) in merges.iter().enumerate() {
        end = end.max(last.get(*merged as usize).copied().unwrap_or(rank));
        if rank == end {
            groups.push(start..rank + 1);
            start = rank + 1;
        }
    }
    groups
}

/// Whether merges of several tokens, mixed, are those of equal scores: of runs of one character, as the runs of spaces in
/// Llama 2's vocabulary, or in the converter's order.
fn is_one_score(texts: &[Option<&str>], merges: &[[u32; 3]]) -> bool {
    let text = |id: u32| texts.get(id as usize).copied().flatten().unwrap_or_default();
    let len = |id: u32| text(id).chars().count();
    let one = merges.iter().all(|ids| ids[2] == merges[0][2]);
    let first = text(merges[0][2]).chars().next();
    let runs = || merges.iter().all(|ids| text(ids[2]).chars().all(|c| Some(c) == first));
    one || runs() || merges.is_sorted_by_key(|[left, right, _]| std::cmp::Reverse((len(*left), len(*right))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [Option<&str>; 8] =
        [None, Some("a"), Some("b"), Some("c"), Some("ab"), Some("bc"), Some("abc"), Some("x")];

    #[test]
    fn scores_fall_in_the_order_of_the_list() {
        let merges = [[1, 2, 4], [2, 3, 5], [1, 5, 6], [4, 3, 6]];
        assert_eq!(scores(&TEXTS, &merges).unwrap(), [0.0, 0.0, 0.0, 0.0, -0.0, -1.0, -2.0, 0.0]);
        let merges = [[4, 3, 6], [1, 5, 6], [2, 3, 5], [1, 2, 4]];
        assert_eq!(scores(&TEXTS, &merges).unwrap()[4..7], [-2.0, -1.0, -0.0]);
        // The first token's merges may be left out, as by a converter that takes its score of 0 for none.
        let merges = [[2, 3, 5], [1, 5, 6], [4, 3, 6]];
        assert_eq!(scores(&TEXTS, &merges).unwrap()[4..7], [1.0, -0.0, -1.0]);
    }

    /// Merges of equal scores are mixed: by length, or of runs of one character in whatever order.
    #[test]
    fn equal_scores() {
        let texts = ["a", "b", "ab", "ba", "aba", "bab"].map(Some);
        let merges = [[2, 0, 4], [3, 1, 5], [1, 2, 5], [0, 3, 4], [0, 1, 2], [1, 0, 3]];
        assert_eq!(scores(&texts, &merges).unwrap(), [0.0, 0.0, -1.0, -2.0, -0.0, -0.0]);
        let texts = ["_", "__", "___", "____", "x", "_x"].map(Some);
        let merges = [[0, 4, 5], [1, 0, 2], [2, 0, 3], [0, 1, 2], [1, 1, 3], [0, 2, 3], [0, 0, 1]];
        assert_eq!(scores(&texts, &merges).unwrap(), [0.0, -2.0, -1.0, -1.0, 0.0, -0.0]);
    }

    #[test]
    fn other_lists_are_refused() {
        let refused = |merges: &[[u32; 3]]| match scores(&TEXTS, merges) {
            Err(ImportError::Tokenizer { found }) => found,
            other => panic!("{other:?}"),
        };
        assert!(refused(&[[1, 2, 4], [2, 3, 5], [1, 5, 6]]).contains("(token 6, \"abc\", is spelled by a pair"));
        assert!(refused(&[[1, 5, 6], [1, 2, 4], [4, 3, 6], [2, 3, 5]]).contains("(token 6, \"abc\", has merges apart"));
        // Neither are those in the converter's order: the longer left part comes first there.
        assert!(refused(&[[1, 2, 4], [1, 5, 6], [2, 3, 5], [4, 3, 6]]).contains("(token 6, \"abc\", has merges apart"));
        assert!(refused(&[[1, 2, 4], [1, 5, 6], [4, 3, 6]]).contains("(token 5, \"bc\", is spelled"));
    }
}
