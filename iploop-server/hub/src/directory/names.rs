//! Names as small numbers: each text once, however many nodes share it.

use std::collections::HashMap;
use std::sync::Arc;

/// A name; equal names have equal symbols while any node holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Symbol(u32);

impl Symbol {
    /// Stands for "not known"; never the symbol of a name.
    pub(super) const UNKNOWN: Self = Self(0);

    /// The number.
    pub(super) fn number(self) -> u32 {
        self.0
    }

    /// Whether it stands for a name.
    pub(super) fn is_known(self) -> bool {
        self != Self::UNKNOWN
    }
}

/// The names that live nodes hold, counted, so that the table is no larger than what is live.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_text: HashMap<Arc<str>, Symbol>,
    /// Names of several words by their text without the spaces; where two share it, the one that came first.
    by_squeezed: HashMap<Box<str>, Symbol>,
    /// The name of symbol `n` is at `n - 1`.
    held: Vec<Option<Held>>,
    free: Vec<Symbol>,
}

#[derive(Debug)]
struct Held {
    text: Arc<str>,
    holders: u32,
}

impl Names {
    /// Takes hold of a name; `None` and the empty text are [`Symbol::UNKNOWN`].
    pub(super) fn hold(&mut self, text: Option<&str>) -> Symbol {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return Symbol::UNKNOWN;
        };
        if let Some(&symbol) = self.by_text.get(text) {
            if let Some(held) = self.slot(symbol) {
                held.holders += 1;
            }
            return symbol;
        }
        let symbol = self.free.pop().unwrap_or_else(|| {
            self.held.push(None);
            Symbol(u32::try_from(self.held.len()).expect("fewer names than nodes, and slots are u32"))
        });
        let text: Arc<str> = text.into();
        if let Some(slot) = self.held.get_mut(position(symbol)) {
            *slot = Some(Held {
                text: text.clone(),
                holders: 1,
            });
        }
        if let Some(squeezed) = squeezed(&text) {
            self.by_squeezed.entry(squeezed).or_insert(symbol);
        }
        self.by_text.insert(text, symbol);
        symbol
    }

    /// Lets go of a name; the last holder's letting go forgets it.
    pub(super) fn release(&mut self, symbol: Symbol) {
        let Some(held) = self.slot(symbol) else { return };
        held.holders -= 1;
        if held.holders == 0 {
            let text = held.text.clone();
            self.held[position(symbol)] = None;
            self.by_text.remove(&text);
            if let Some(squeezed) = squeezed(&text)
                && self.by_squeezed.get(&squeezed) == Some(&symbol)
            {
                self.by_squeezed.remove(&squeezed);
            }
            self.free.push(symbol);
        }
    }

    /// The symbol of a name, if any node holds it.
    pub(super) fn find(&self, text: &str) -> Option<Symbol> {
        self.by_text.get(text).copied()
    }

    /// The symbol of a name, also where its words are written as one.
    pub(super) fn find_loosely(&self, text: &str) -> Option<Symbol> {
        self.find(text).or_else(|| self.by_squeezed.get(text).copied())
    }

    fn slot(&mut self, symbol: Symbol) -> Option<&mut Held> {
        self.held.get_mut(position(symbol))?.as_mut()
    }
}

/// A name of several words as one.
fn squeezed(text: &str) -> Option<Box<str>> {
    text.contains(' ').then(|| text.replace(' ', "").into())
}

/// Where a symbol's name lies; out of every range for the unknown one.
fn position(symbol: Symbol) -> usize {
    usize::try_from(symbol.0).map_or(usize::MAX, |n| n.wrapping_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_lives_as_long_as_its_last_holder() {
        let mut names = Names::default();
        let first = names.hold(Some("haifa"));
        assert_eq!(names.hold(Some("haifa")), first);
        names.release(first);
        assert_eq!(names.find("haifa"), Some(first));
        names.release(first);
        assert_eq!(names.find("haifa"), None);
        assert_eq!(names.hold(Some("miami")), first, "its number is used again");
    }

    #[test]
    fn words_may_be_written_as_one() {
        let mut names = Names::default();
        let symbol = names.hold(Some("new york"));
        assert_eq!(names.find_loosely("newyork"), Some(symbol));
        assert_eq!(names.find("newyork"), None);
        names.release(symbol);
        assert_eq!(names.find_loosely("newyork"), None);
        assert!(names.by_squeezed.is_empty());
    }

    #[test]
    fn nothing_is_the_unknown_symbol() {
        let mut names = Names::default();
        assert_eq!(names.hold(None), Symbol::UNKNOWN);
        assert_eq!(names.hold(Some("")), Symbol::UNKNOWN);
        names.release(Symbol::UNKNOWN);
    }
}
