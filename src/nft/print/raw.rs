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
        Expr::XtMatch(xt) => format!(
            "[ match {} {} {} ]",
            xt.extension(),
            xt.revision(),
            super::kind::hex(xt.info())
        ),
        Expr::XtTarget(xt) => format!(
            "[ target {} {} {} ]",
            xt.extension(),
            xt.revision(),
            super::kind::hex(xt.info())
        ),
        other => format!("[ {other:?} ]"),
    }
}
