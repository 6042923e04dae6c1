//! The page, and the form to sign in. Both are complete in themselves, so that they load nothing
//! from a path that depends on where the router is nested.

use std::io;

use axum::http::HeaderValue;

use super::auth::random;

const PAGE: &str = include_str!("page.html");
const CSS: &str = include_str!("page.css");
const JS: &str = include_str!("page.js");
const SIGN_IN: &str = include_str!("sign_in.html");
const SIGN_IN_JS: &str = include_str!("sign_in.js");

/// A page, and the policy that allows its style and its script.
pub(super) struct Page {
    pub(super) html: String,
    pub(super) policy: HeaderValue,
}

/// The policy of answers that are no page.
pub(super) const NOTHING: &str =
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Returns the page.
pub(super) fn page(title: &str, read_only: bool, signed_in: bool) -> io::Result<Page> {
    let access = if read_only { "read-only" } else { "full" };
    let session = if signed_in { "token" } else { "open" };
    fill(PAGE, &[("title", title), ("access", access), ("session", session)], JS)
}

/// Returns the form. `action` is where it is sent to without a script; `problem` is why it is shown
/// again.
pub(super) fn sign_in(title: &str, action: &str, problem: &str) -> io::Result<Page> {
    fill(SIGN_IN, &[("title", title), ("action", action), ("problem", problem)], SIGN_IN_JS)
}

fn fill(template: &str, values: &[(&str, &str)], script: &str) -> io::Result<Page> {
    let nonce = random(16)?;
    let mut html = String::with_capacity(template.len() + CSS.len() + script.len() + 256);
    let mut rest = template;
    // In one pass, so that a value that looks like a place is text.
    while let Some((before, (name, after))) =
        rest.split_once("{{").and_then(|(before, rest)| Some((before, rest.split_once("}}")?)))
    {
        html.push_str(before);
        rest = after;
        match name {
            "nonce" => html.push_str(&nonce),
            "css" => html.push_str(CSS),
            "js" => html.push_str(script),
            _ => {
                let value = values.iter().find(|(of, _)| *of == name);
                escape(&mut html, value.map_or("", |(_, value)| value));
            }
        }
    }
    html.push_str(rest);
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    let policy = HeaderValue::try_from(policy).map_err(io::Error::other)?;
    Ok(Page { html, policy })
}

/// Adds text, which is no markup, also within an attribute.
fn escape(html: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
}

#[cfg(all(test, not(atasker_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_text() {
        let page = page("</title><script>\"{{js}}'&", false, false).unwrap();
        let shown = "&lt;/title&gt;&lt;script&gt;&quot;{{js}}&#39;&amp;";
        assert_eq!(page.html.matches(shown).count(), 2);
        assert_eq!(page.html.matches("<script").count(), 1);
        // Every place of the template is filled.
        assert_eq!(page.html.matches("{{").count() - JS.matches("{{").count(), 2);
    }

    #[test]
    fn each_page_has_another_nonce() {
        let [a, b] = [0, 1].map(|_| sign_in("x", "login", "").unwrap().policy);
        assert_ne!(a, b);
    }
}
