//! The two rules that let guests through chains of others.

use crate::error::Invalid;
use crate::nft::{Chain, Comment, Rule, meta};
use crate::owner::Owner;

/// The rules of the shim in `chain`, for what goes to guests and for what
/// comes from them.
pub(crate) fn shim(owner: &Owner, chain: &Chain) -> Result<[Rule; 2], Invalid> {
    let comment = Comment::new(&words(owner))?;
    let prefix = owner.tap_prefix();
    Ok([meta::oifname(), meta::iifname()].map(|interface| {
        Rule::new(chain)
            .matching(interface.starts_with(&prefix))
            .counter()
            .accept()
            .comment(comment)
    }))
}

/// Whether `rule` is one of the owner's shim.
pub(crate) fn is_shim(owner: &Owner, rule: &Rule) -> bool {
    let comment = rule.current_comment();
    comment.is_some_and(|comment| comment.as_str() == words(owner))
}

fn words(owner: &Owner) -> String {
    format!("shim of {owner}")
}
