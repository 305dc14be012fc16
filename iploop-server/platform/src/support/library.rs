//! The documentation that ships with the program, cut into sections.

use std::sync::LazyLock;

/// One file of the documentation.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Its name, as in `/docs/help.md`.
    pub file: &'static str,
    /// Markdown.
    pub text: &'static str,
}

macro_rules! pages {
    ($($file:literal $path:literal,)*) => {
        /// Every page.
        pub(super) const PAGES: &[Page] = &[$(Page {
            file: $file,
            text: include_str!(concat!("../../../../", $path)),
        }),*];
    };
}

pages! {
    "help.md" "docs/help.md",
    "contracts.md" "docs/contracts.md",
    "clients.md" "docs/clients.md",
    "selection.md" "docs/selection.md",
    "operations.md" "docs/operations.md",
    "threat-model.md" "docs/threat-model.md",
    "protocol.md" "docs/protocol.md",
    "architecture.md" "docs/architecture.md",
    "readme.md" "README.md",
}

/// What stands under one heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// The page's file.
    pub(super) file: &'static str,
    /// The page's title.
    pub(super) page: &'static str,
    /// The heading.
    pub(super) title: &'static str,
    /// Where a link to it leads.
    pub(super) url: String,
    /// Markdown without the heading.
    pub(super) text: &'static str,
}

/// Every section of every page that says anything.
pub(super) fn sections() -> &'static [Section] {
    static SECTIONS: LazyLock<Vec<Section>> = LazyLock::new(|| PAGES.iter().flat_map(cut).collect());
    &SECTIONS
}

/// The page of this name.
pub fn page(file: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.file == file)
}

fn cut(page: &Page) -> Vec<Section> {
    let text = page.text;
    let mut starts = Vec::new();
    let (mut at, mut is_code) = (0, false);
    for line in text.split_inclusive('\n') {
        is_code ^= line.starts_with("```");
        if !is_code && heading(line).is_some() {
            starts.push((at, at + line.len()));
        }
        at += line.len();
    }
    let page_title = starts
        .first()
        .and_then(|(from, to)| heading(&text[*from..*to]))
        .unwrap_or(page.file);
    let ends = starts.iter().skip(1).map(|(from, _)| *from).chain([text.len()]);
    let sections = starts.iter().zip(ends).filter_map(|((from, to), end)| {
        let title = heading(&text[*from..*to])?;
        let body = text[*to..end].trim();
        (!body.is_empty()).then(|| Section {
            file: page.file,
            page: page_title,
            title,
            url: format!("/docs/{}#{}", page.file, anchor(title)),
            text: body,
        })
    });
    sections.collect()
}

/// The text of a heading of the first three levels.
fn heading(line: &str) -> Option<&str> {
    let rest = line.strip_prefix('#')?.trim_start_matches('#');
    let level = line.len() - rest.len();
    let title = rest.strip_prefix(' ')?.trim();
    (level <= 3 && !title.is_empty()).then_some(title)
}

/// As GitHub makes it from a heading.
fn anchor(title: &str) -> String {
    let kept = title.chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        letter if letter.is_alphanumeric() => Some(letter.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_sections_with_their_own_links() {
        let mut urls: Vec<&str> = sections().iter().map(|section| section.url.as_str()).collect();
        for page in PAGES {
            assert!(
                sections().iter().any(|section| section.file == page.file),
                "{}",
                page.file
            );
        }
        let all = urls.len();
        urls.sort_unstable();
        urls.dedup();
        assert_eq!(urls.len(), all, "a link leads to one section");
    }

    #[test]
    fn a_page_is_cut_at_its_headings_and_not_in_its_code() {
        let page = Page {
            file: "x.md",
            text: "# Page\n\nIntro.\n\n## A b's (c)\n\ntext\n\n```\n# no heading\n```\n\n## Empty\n\n### Deep\nmore\n#### Deeper\n",
        };
        let cut: Vec<(&str, String, &str)> = cut(&page)
            .into_iter()
            .map(|section| (section.title, section.url, section.text))
            .collect();
        assert_eq!(
            cut,
            [
                ("Page", "/docs/x.md#page".to_owned(), "Intro."),
                (
                    "A b's (c)",
                    "/docs/x.md#a-bs-c".to_owned(),
                    "text\n\n```\n# no heading\n```"
                ),
                ("Deep", "/docs/x.md#deep".to_owned(), "more\n#### Deeper"),
            ]
        );
    }
}
