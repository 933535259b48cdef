//! The way of a packet through chains, whoever keeps them.

use std::sync::Arc;

use super::probe::{Probe, Truth};
use super::window::Window;
use crate::error::Error;

/// What a rule does with a packet that meets its conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Continue,
    Accept,
    Drop,
    Return,
    /// Gives it another destination.
    Take,
    Jump(Box<str>),
    Goto(Box<str>),
}

/// Chains of rules.
pub(super) trait Firewall {
    type Rule;

    /// The rules of a chain; none if it is not there.
    fn rules(&mut self, chain: &str) -> Result<Arc<[Self::Rule]>, Error>;

    /// Whether what the rule does is to lead to a process of the host itself.
    fn redirects(rule: &Self::Rule) -> bool;

    /// The ports that the rule can be about.
    fn window(rule: &Self::Rule) -> Window;

    /// Whether the packet meets the rule's conditions, and what follows.
    fn weigh(&mut self, rule: &Self::Rule, probe: &Probe) -> Result<(Truth, Action), Error>;
}

/// A rule by its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Spot {
    pub(super) chain: Box<str>,
    /// Counted from 0.
    pub(super) index: usize,
}

/// How a chain ends for a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// Without a verdict: the policy decides.
    Falls,
    Accepted,
    Dropped(Spot),
    Taken(Spot),
    /// Differently for some of the probe's ports than for others.
    Divided,
}

/// How a chain ends, and the first rule that perhaps translates before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) end: End,
    pub(super) maybe: Option<Spot>,
}

/// Follows the packet from the beginning of `chain`. Conditions that may hold
/// or not are taken not to hold, but for those of translations, which are
/// told.
pub(super) fn walk<F: Firewall>(
    firewall: &mut F,
    chain: &str,
    probe: &Probe,
) -> Result<Outcome, Error> {
    let mut walk = Walk {
        firewall,
        probe,
        maybe: None,
        left: RULES,
    };
    let end = walk.chain(chain, DEPTH)?;
    Ok(Outcome {
        end,
        maybe: walk.maybe,
    })
}

struct Walk<'w, F> {
    firewall: &'w mut F,
    probe: &'w Probe,
    maybe: Option<Spot>,
    left: u32,
}

impl<F: Firewall> Walk<'_, F> {
    fn chain(&mut self, chain: &str, depth: u32) -> Result<End, Error> {
        let Some(depth) = depth.checked_sub(1) else {
            return Ok(End::Falls);
        };
        let rules = self.firewall.rules(chain)?;
        for (index, rule) in rules.iter().enumerate() {
            let Some(left) = self.left.checked_sub(1) else {
                return Ok(End::Falls);
            };
            self.left = left;
            if F::window(rule).excludes(self.probe.ports) {
                continue;
            }
            let (truth, action) = self.firewall.weigh(rule, self.probe)?;
            if truth == Truth::No {
                continue;
            }
            let spot = || Spot {
                chain: chain.into(),
                index,
            };
            let ended = match (truth, action) {
                (Truth::Maybe, Action::Take) => {
                    self.note(spot());
                    continue;
                }
                (Truth::Maybe, Action::Jump(next) | Action::Goto(next)) => {
                    match self.chain(&next, depth)? {
                        End::Taken(spot) => self.note(spot),
                        End::Divided => return Ok(End::Divided),
                        End::Falls | End::Accepted | End::Dropped(_) => {}
                    }
                    continue;
                }
                (Truth::Partly, _) => End::Divided,
                (Truth::Maybe | Truth::No, _) | (_, Action::Continue) => continue,
                (Truth::Yes, Action::Accept) => End::Accepted,
                (Truth::Yes, Action::Drop) => End::Dropped(spot()),
                (Truth::Yes, Action::Take) => End::Taken(spot()),
                (Truth::Yes, Action::Return) => End::Falls,
                (Truth::Yes, Action::Goto(next)) => self.chain(&next, depth)?,
                (Truth::Yes, Action::Jump(next)) => match self.chain(&next, depth)? {
                    End::Falls => continue,
                    end => end,
                },
            };
            return Ok(ended);
        }
        Ok(End::Falls)
    }

    fn note(&mut self, spot: Spot) {
        self.maybe.get_or_insert(spot);
    }
}

/// The kernel lets chains lead to each other so deep
/// (`NFT_JUMP_STACK_SIZE`).
const DEPTH: u32 = 17;

/// Chains that lead to each other in many ways are given up after so many
/// rules.
const RULES: u32 = 200_000;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::beside::survey::tests::probe;

    struct Fixed(HashMap<&'static str, Vec<(Truth, Action)>>);

    impl Firewall for Fixed {
        type Rule = (Truth, Action);

        fn rules(&mut self, chain: &str) -> Result<Arc<[Self::Rule]>, Error> {
            Ok(self.0.get(chain).cloned().unwrap_or_default().into())
        }

        fn redirects(_: &Self::Rule) -> bool {
            false
        }

        fn window(_: &Self::Rule) -> Window {
            Window::ALL
        }

        fn weigh(&mut self, rule: &Self::Rule, _: &Probe) -> Result<(Truth, Action), Error> {
            Ok(rule.clone())
        }
    }

    fn end(rules: &[(&'static str, &[(Truth, Action)])]) -> Outcome {
        let chains = rules.iter().map(|(name, rules)| (*name, rules.to_vec()));
        walk(&mut Fixed(chains.collect()), "base", &probe()).unwrap()
    }

    fn spot(chain: &str, index: usize) -> Spot {
        Spot {
            chain: chain.into(),
            index,
        }
    }

    use Action::{Accept, Continue, Drop, Goto, Jump, Return, Take};
    use Truth::{Maybe, No, Yes};

    #[test]
    fn first_verdict_that_is_certain_decides() {
        let base = [(No, Accept), (Maybe, Accept), (Yes, Continue), (Yes, Drop)];
        assert_eq!(end(&[("base", &base)]).end, End::Dropped(spot("base", 3)));
        assert_eq!(
            end(&[("base", &[(Yes, Accept), (Yes, Drop)])]).end,
            End::Accepted
        );
        assert_eq!(end(&[("base", &[(Maybe, Drop)])]).end, End::Falls);
    }

    #[test]
    fn jump_comes_back_and_goto_does_not() {
        let sub = [(Yes, Return), (Yes, Drop)];
        let jump = [(Yes, Jump("sub".into())), (Yes, Drop)];
        let outcome = end(&[("base", &jump), ("sub", &sub)]);
        assert_eq!(outcome.end, End::Dropped(spot("base", 1)));
        let goto = [(Yes, Goto("sub".into())), (Yes, Drop)];
        assert_eq!(end(&[("base", &goto), ("sub", &sub)]).end, End::Falls);
    }

    #[test]
    fn translation_that_is_not_certain_is_told_and_passed() {
        let base = [
            (Maybe, Jump("sub".into())),
            (Maybe, Take),
            (Yes, Take),
            (Yes, Drop),
        ];
        let outcome = end(&[("base", &base), ("sub", &[(Yes, Take)])]);
        assert_eq!(outcome.maybe, Some(spot("sub", 0)));
        assert_eq!(outcome.end, End::Taken(spot("base", 2)));
    }

    #[test]
    fn chains_that_lead_in_circles_end() {
        let base = [(Yes, Jump("base".into())), (Yes, Jump("base".into()))];
        assert_eq!(end(&[("base", &base)]).end, End::Falls);
    }
}
