//! Expressions that have no text in `nft`'s language.

use crate::nft::expr::Expr;

/// The expression itself: it cannot be mistaken for a statement, and `nft`
/// refuses it.
pub(super) fn expression(expression: &Expr) -> String {
    match expression {
        Expr::Unknown(unknown) => {
            let bytes = unknown.attributes().unwrap_or_default();
            format!("[ {} {} ]", unknown.name(), super::kind::hex(bytes))
        }
        // As `nft` lists those that it has no translator for.
        Expr::XtMatch(xt) => format!("xt match \"{}\"", xt.extension()),
        Expr::XtTarget(xt) => format!("xt target \"{}\"", xt.extension()),
        other => format!("[ {other:?} ]"),
    }
}
