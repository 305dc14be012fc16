//! The one form that our mails have: plain text, and HTML from MJML, which comes out right in old mail programs too.

use crate::accounts::email::EmailAddress;
use crate::mail::Mail;

/// A mail in the making. Everything in it is text; markup is made here.
#[derive(Default)]
pub(crate) struct Letter<'a> {
    pub(crate) subject: &'a str,
    /// Who is greeted; may be empty.
    pub(crate) name: &'a str,
    /// Paragraphs before the button.
    pub(crate) before: &'a [&'a str],
    /// Names and values, as a table.
    pub(crate) facts: &'a [(&'a str, String)],
    /// Text and address of the button.
    pub(crate) action: Option<(&'a str, &'a str)>,
    /// Paragraphs after the button, small.
    pub(crate) after: &'a [&'a str],
    /// Where one can stop such mails.
    pub(crate) unsubscribe: Option<&'a str>,
}

impl Letter<'_> {
    /// The mail in both forms.
    pub(crate) fn to(&self, to: &EmailAddress) -> Mail {
        Mail {
            to: to.clone(),
            to_name: self.name.to_owned(),
            subject: self.subject.to_owned(),
            text: self.text(),
            html: self.html(),
            unsubscribe: self.unsubscribe.map(str::to_owned),
        }
    }

    fn greeting(&self) -> String {
        match self.name {
            "" => "Hello,".to_owned(),
            name => format!("Hello {name},"),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.greeting());
        for paragraph in self.before {
            text.push_str(&format!("{paragraph}\n\n"));
        }
        for (label, value) in self.facts {
            text.push_str(&format!("{label}: {value}\n"));
        }
        if !self.facts.is_empty() {
            text.push('\n');
        }
        if let Some((action, link)) = self.action {
            text.push_str(&format!("{action}:\n{link}\n\n"));
        }
        for paragraph in self.after {
            text.push_str(&format!("{paragraph}\n"));
        }
        if let Some(link) = self.unsubscribe {
            text.push_str(&format!("\nNo more mails of this kind:\n{link}\n"));
        }
        text.push_str("\nIPLoop\n");
        text
    }

    fn html(&self) -> String {
        let mjml = self.mjml();
        let rendered = mrml::parse(&mjml)
            .map_err(|error| error.to_string())
            .and_then(|parsed| {
                let options = mrml::prelude::render::RenderOptions::default();
                parsed.element.render(&options).map_err(|error| error.to_string())
            });
        rendered.unwrap_or_else(|error| {
            // The values are escaped, so this is a fault of the layout; the mail must go out all the same.
            tracing::error!(
                error,
                subject = self.subject,
                "a mail's layout could not be rendered"
            );
            format!(
                "<!doctype html><html><body><pre style=\"white-space:pre-wrap\">{}</pre></body></html>",
                escape(&self.text())
            )
        })
    }

    fn mjml(&self) -> String {
        let mut body = paragraph(&self.greeting());
        self.before
            .iter()
            .for_each(|text| body.push_str(&paragraph(text)));
        if !self.facts.is_empty() {
            body.push_str("<mj-table>");
            for (label, value) in self.facts {
                body.push_str(&format!(
                    "<tr><td style=\"padding:6px 0;color:#5b6472\">{}</td><td style=\"padding:6px 0;text-align:right\">{}</td></tr>",
                    escape(label),
                    escape(value)
                ));
            }
            body.push_str("</mj-table>");
        }
        if let Some((action, link)) = self.action {
            body.push_str(&format!(
                "<mj-button href=\"{}\">{}</mj-button>",
                escape(link),
                escape(action)
            ));
        }
        self.after
            .iter()
            .for_each(|text| body.push_str(&small(&escape(text))));
        let mut foot = small("IPLoop");
        if let Some(link) = self.unsubscribe {
            foot.push_str(&small(&format!(
                "<a href=\"{}\" style=\"color:#5b6472\">No more mails of this kind</a>",
                escape(link)
            )));
        }
        include_str!("layout.mjml")
            .replace("[title]", &escape(self.subject))
            .replace("[body]", &body)
            .replace("[foot]", &foot)
    }
}

fn paragraph(text: &str) -> String {
    format!("<mj-text>{}</mj-text>", escape(text))
}

/// `markup` is escaped already.
fn small(markup: &str) -> String {
    format!("<mj-text mj-class=\"small\">{markup}</mj-text>")
}

/// Text for the content of elements and for quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // The layout's own places are filled once, in order: no value may look like one.
            '[' => escaped.push_str("&#91;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same_and_nothing_is_loaded_from_elsewhere() {
        let letter = Letter {
            subject: "Your week <1>",
            name: "Ada",
            before: &["first & foremost."],
            facts: &[
                ("Requests", "12".to_owned()),
                ("Traffic", "3.00 GB [body]".to_owned()),
            ],
            action: Some(("Look", "https://h/x?a=1&b=2")),
            after: &["small print"],
            unsubscribe: Some("https://h/stop?token=1"),
        };
        let mail = letter.to(&"ada@example.com".parse().unwrap());
        for part in [
            "Hello Ada,",
            "first & foremost.",
            "Requests: 12\n",
            "Look:\nhttps://h/x?a=1&b=2\n",
            "https://h/stop?token=1",
        ] {
            assert!(mail.text.contains(part), "{part} is not in {}", mail.text);
        }
        for part in [
            "<title>Your week &lt;1&gt;</title>",
            "first &amp; foremost.",
            ">Requests</td>",
            ">3.00 GB &#91;body]</td>",
            "href=\"https://h/x?a=1&amp;b=2\"",
            "small print",
            "href=\"https://h/stop?token=1\"",
        ] {
            assert!(mail.html.contains(part), "{part} is not in {}", mail.html);
        }
        for part in [
            "<pre",
            "<mj-",
            "googleapis",
            "src=",
            "[body]",
            "[foot]",
            "<script",
        ] {
            assert!(!mail.html.contains(part), "{part} is in {}", mail.html);
        }
    }
}
