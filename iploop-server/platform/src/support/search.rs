//! Which sections answer a question: BM25 over stemmed words, in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use super::library::{Section, sections};

/// Usual constants of BM25: how fast repetition stops to matter, how much length does.
const K1: f64 = 1.2;
const B: f64 = 0.75;
/// A word of the heading counts as so many of the text.
const HEADING_WEIGHT: u32 = 6;
/// Customers' pages first: what others say of the same words is more special.
const OTHER_PAGES: f64 = 0.75;
/// Words of a question that are looked for.
const MAX_WORDS: usize = 64;
/// What an answer quotes of a section, in bytes.
const QUOTE_BYTES: usize = 1_200;

/// Words that say nothing of what is asked.
const STOP: &[&str] = &[
    "a", "about", "after", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "because",
    "been", "but", "by", "can", "cannot", "could", "d", "did", "do", "does", "doesn", "don", "for", "from",
    "get", "gets", "getting", "give", "go", "got", "had", "has", "have", "hello", "help", "here", "hey",
    "hi", "how", "i", "if", "in", "into", "is", "it", "its", "just", "know", "let", "like", "ll", "m",
    "make", "many", "may", "me", "mean", "more", "much", "must", "my", "need", "no", "not", "of", "on",
    "one", "or", "our", "out", "please", "re", "s", "say", "see", "should", "so", "some", "t", "tell",
    "than", "thank", "thanks", "that", "the", "their", "them", "then", "there", "these", "they", "this",
    "through", "to", "too", "up", "us", "use", "used", "using", "ve", "want", "was", "way", "we", "were",
    "what", "when", "where", "which", "while", "who", "why", "will", "with", "work", "works", "would", "you",
    "your",
];

/// Customers' words for ours.
const SAME: &[(&str, &str)] = &[
    ("cost", "price"),
    ("pay", "price"),
    ("expensive", "price"),
    ("login", "sign"),
    ("signin", "sign"),
    ("logout", "sign"),
    ("town", "city"),
    ("node", "device"),
    ("phone", "device"),
    ("nodejs", "js"),
    ("mail", "email"),
    ("verification", "verify"),
    ("ip", "address"),
    ("traffic", "byte"),
    ("bandwidth", "byte"),
    ("throttle", "limit"),
    ("quota", "limit"),
    ("token", "key"),
    ("apikey", "key"),
    ("static", "sticky"),
    ("persistent", "sticky"),
    ("speed", "slow"),
    ("fast", "slow"),
    ("begin", "start"),
    ("setup", "start"),
    ("human", "person"),
    ("someone", "person"),
    ("blocked", "forbidden"),
    ("block", "forbidden"),
];

/// A section, how well it fits, and how much of the question it covers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) section: &'static Section,
    pub(super) score: f64,
    /// Weight of the question's words that stand in the section, 0 to 1.
    pub(super) coverage: f64,
}

/// The sections, counted.
struct Index {
    counted: Vec<Counted>,
    /// In how many sections a word stands.
    spread: HashMap<String, u32>,
    mean_length: f64,
}

struct Counted {
    section: &'static Section,
    counts: HashMap<String, u32>,
    length: f64,
}

/// The best sections for a question, best first.
pub(super) fn search(question: &str, limit: usize) -> Vec<Found> {
    let index = index();
    let words = question_words(question);
    let weights: BTreeMap<&str, f64> = words
        .iter()
        .map(|word| (word.as_str(), index.weight(word)))
        .collect();
    let whole: f64 = weights.values().sum();
    let mut found: Vec<Found> = index
        .counted
        .iter()
        .filter_map(|counted| {
            let (mut score, mut covered) = (0.0, 0.0);
            for (word, weight) in &weights {
                let Some(count) = counted.counts.get(*word).copied().map(f64::from) else {
                    continue;
                };
                let length = 1.0 - B + B * counted.length / index.mean_length;
                score += weight * count * (K1 + 1.0) / (count + K1 * length);
                covered += weight;
            }
            if counted.section.file != "help.md" {
                score *= OTHER_PAGES;
            }
            (score > 0.0).then(|| Found {
                section: counted.section,
                score,
                coverage: covered / whole,
            })
        })
        .collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(limit);
    found
}

/// The parts of a section that fit a question best, in their order.
pub(super) fn quote(section: &Section, question: &str) -> String {
    let index = index();
    let words = question_words(question);
    let blocks: Vec<&str> = blocks(section.text);
    let mut ranked: Vec<(usize, f64)> = blocks
        .iter()
        .enumerate()
        .map(|(at, block)| {
            let has = stems(block);
            let fit = words.iter().filter(|word| has.contains(word));
            (at, fit.map(|word| index.weight(word)).sum())
        })
        .collect();
    ranked.sort_by(|a: &(usize, f64), b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let (mut chosen, mut bytes) = (Vec::new(), 0);
    for (at, _) in ranked {
        bytes += blocks[at].len();
        if bytes > QUOTE_BYTES && !chosen.is_empty() {
            break;
        }
        chosen.push(at);
    }
    chosen.sort_unstable();
    let mut text = String::new();
    for at in chosen {
        let block = blocks[at];
        let is_row = block.starts_with('|') && text.lines().last().is_some_and(|line| line.starts_with('|'));
        if !text.is_empty() {
            text.push_str(if is_row { "\n" } else { "\n\n" });
        }
        text.push_str(shortened(block, 2 * QUOTE_BYTES));
    }
    text
}

/// At most so many bytes, at a letter's border.
pub(super) fn shortened(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

impl Index {
    /// How much a word tells. One that is nowhere tells most: nothing here is about it.
    fn weight(&self, word: &str) -> f64 {
        let spread = f64::from(self.spread.get(word).copied().unwrap_or(0));
        let all = f64::from(u32::try_from(self.counted.len()).unwrap_or(u32::MAX));
        (1.0 + (all - spread + 0.5) / (spread + 0.5)).ln()
    }
}

fn index() -> &'static Index {
    static INDEX: LazyLock<Index> = LazyLock::new(|| {
        let counted: Vec<Counted> = sections().iter().map(count).collect();
        let mut spread = HashMap::new();
        for word in counted.iter().flat_map(|section| section.counts.keys()) {
            *spread.entry(word.clone()).or_insert(0) += 1;
        }
        let lengths: f64 = counted.iter().map(|section| section.length).sum();
        let all = f64::from(u32::try_from(counted.len()).unwrap_or(u32::MAX)).max(1.0);
        Index {
            mean_length: lengths / all,
            counted,
            spread,
        }
    });
    &INDEX
}

fn count(section: &'static Section) -> Counted {
    let mut counts = HashMap::new();
    for word in stems(section.title) {
        *counts.entry(word).or_insert(0) += HEADING_WEIGHT;
    }
    for word in stems(section.text) {
        *counts.entry(word).or_insert(0) += 1;
    }
    let length = f64::from(counts.values().sum::<u32>());
    Counted {
        section,
        counts,
        length,
    }
}

/// What is asked for: each word once.
pub(super) fn question_words(question: &str) -> Vec<String> {
    let mut words = stems(question);
    words.sort_unstable();
    words.dedup();
    words.truncate(MAX_WORDS);
    words
}

/// Table rows and paragraphs.
fn blocks(text: &str) -> Vec<&str> {
    let paragraphs = text
        .split("\n\n")
        .map(str::trim)
        .filter(|block| !block.is_empty());
    paragraphs
        .flat_map(|block| match block.starts_with('|') {
            true => block.lines().filter(|line| !line.starts_with("|--")).collect(),
            false => vec![block],
        })
        .collect()
}

/// The words of a text that tell something, stemmed; names with `_` whole and in their parts.
fn stems(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    for word in text.split(|letter| !is_part(letter)) {
        if word.is_empty() || word.len() > 64 {
            continue;
        }
        let word = word.to_lowercase();
        if word.contains('_') {
            found.extend(word.split('_').filter_map(stem));
            found.push(word);
        } else {
            found.extend(stem(&word));
        }
    }
    found
}

/// None for a word that tells nothing.
fn stem(word: &str) -> Option<String> {
    static OURS: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
        let same = SAME
            .iter()
            .map(|(theirs, ours)| (shortest(theirs), shortest(ours)));
        same.collect()
    });
    if word.is_empty() || STOP.contains(&word) {
        return None;
    }
    let stem = shortest(word);
    Some(OURS.get(&stem).cloned().unwrap_or(stem))
}

/// Without its ending; at least three letters stay.
fn shortest(word: &str) -> String {
    let endings = ["ations", "ation", "ings", "ing", "ies", "ied", "ed", "es", "s"];
    let without = endings.iter().find_map(|ending| {
        let stem = word.strip_suffix(ending)?;
        let is_part_of_word = *ending == "s" && stem.ends_with('s');
        (stem.chars().count() >= 3 && !is_part_of_word).then(|| match *ending {
            "ies" | "ied" => format!("{stem}y"),
            "ation" | "ations" => format!("{stem}ate"),
            _ => stem.to_owned(),
        })
    });
    let stem = without.unwrap_or_else(|| word.to_owned());
    // A silent e comes and goes with endings.
    match stem.strip_suffix('e') {
        Some(shorter) if shorter.chars().count() >= 3 => shorter.to_owned(),
        _ => stem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The heading of the best section, and whether it is taken for an answer.
    fn best(question: &str) -> (&'static str, bool) {
        let found = search(question, 1);
        let best = found.first().unwrap();
        (best.section.title, best.coverage >= super::super::KNOWN_COVERAGE)
    }

    #[test]
    fn golden_questions_find_the_section_that_answers_them() {
        for (question, title) in [
            ("How do I get started?", "Getting started"),
            (
                "How do I send my first request through the proxy with curl?",
                "Getting started",
            ),
            ("Which port is for SOCKS5?", "Ports and protocols of the proxy"),
            ("How can I target a city?", "Choosing a country, city or network"),
            (
                "can I choose ASN targeting",
                "Choosing a country, city or network",
            ),
            (
                "I want to keep the same IP for 30 minutes",
                "Keeping the same IP address (sticky sessions)",
            ),
            (
                "What are sticky sessions?",
                "Keeping the same IP address (sticky sessions)",
            ),
            (
                "how to rotate the ip on each request",
                "A new IP address for each request (rotation)",
            ),
            ("I get 407 credentials_invalid", "Login at the proxy fails (407)"),
            (
                "Why does the proxy say key_expired?",
                "Login at the proxy fails (407)",
            ),
            ("what does 503 no_exit mean", "No exit is found (503 no_exit)"),
            (
                "I'm getting 429 too_many_connections",
                "Too many requests or connections (429)",
            ),
            ("daily_requests reached", "Too many requests or connections (429)"),
            ("balance_depleted error", "The balance is used up (402)"),
            (
                "Why is port 25 forbidden?",
                "Forbidden destinations and ports (403)",
            ),
            (
                "destination_forbidden for a private address",
                "Forbidden destinations and ports (403)",
            ),
            ("How much does a GB cost?", "What is counted and what it costs"),
            ("how do I upgrade my plan", "Plans and upgrades"),
            (
                "How many API keys can I have?",
                "API keys: create, limit, restrict, delete",
            ),
            (
                "I lost my API key, can you show it again?",
                "API keys: create, limit, restrict, delete",
            ),
            ("I forgot my password", "Password, sign-in and email address"),
            (
                "the verification mail did not come",
                "Password, sign-in and email address",
            ),
            ("requests are slow and time out", "Slow requests and timeouts"),
            (
                "does it work with python requests and playwright?",
                "Using it in Python, Node.js, browsers and other programs",
            ),
            (
                "who owns the devices and did they consent?",
                "Devices and consent (sharing bandwidth)",
            ),
            ("Can I talk to a person?", "Asking a person"),
            (
                "How do I reset my password?",
                "Password, sign-in and email address",
            ),
            (
                "How do I delete my account?",
                "Deleting the account, exporting your data",
            ),
            (
                "Can I download all my data?",
                "Deleting the account, exporting your data",
            ),
            (
                "How do I turn on two-factor authentication?",
                "Two-factor authentication (2FA, TOTP)",
            ),
            (
                "How do I verify webhook signatures?",
                "Webhooks and how to verify their signatures",
            ),
            ("Can I get a refund?", "Invoices, payments and refunds"),
            ("Where can I see my invoices?", "Invoices, payments and refunds"),
            (
                "How do I cancel my subscription?",
                "Invoices, payments and refunds",
            ),
            (
                "How do I unsubscribe from the weekly report?",
                "Mails and reports: turning notifications off",
            ),
            (
                "How do I earn credits?",
                "Earning credits by sharing your own devices",
            ),
            (
                "How can I become a partner?",
                "Earning credits by sharing your own devices",
            ),
            ("Is UDP supported?", "UDP"),
            (
                "What ports may I connect to?",
                "Forbidden destinations and ports (403)",
            ),
            ("what happens when Redis is lost", "Several processes"),
        ] {
            assert_eq!(best(question), (title, true), "{question}");
        }
    }

    #[test]
    fn what_the_documentation_says_nothing_about_is_not_known() {
        for question in [
            "What is the weather in Paris tomorrow?",
            "Write me a poem about elephants",
            "Who won the football championship?",
            "how do I bake sourdough bread",
        ] {
            let found = search(question, 1);
            assert!(
                found
                    .first()
                    .is_none_or(|best| best.coverage < super::super::KNOWN_COVERAGE),
                "{question}: {found:?}"
            );
        }
        assert!(search("how do you do?", 3).is_empty());
        assert!(search("", 3).is_empty());
    }

    #[test]
    fn a_quote_is_short_and_about_the_question() {
        for found in search("which limits does a key have", 8) {
            assert!(quote(found.section, "limits of a key").len() <= 3 * QUOTE_BYTES);
        }
        let section = sections()
            .iter()
            .find(|section| section.title == "Limits of a key")
            .unwrap();
        let text = quote(section, "bytesPerMonth");
        assert!(text.contains("bytesPerMonth"), "{text}");
    }
}
