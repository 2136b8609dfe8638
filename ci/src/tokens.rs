//! Rust source as a flat list of tokens with their lines; comments are gone, test code can be.

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// A word, a `::`, a bracket, another sign, or the placeholder `""` for any literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// All tokens of `source`.
pub(crate) fn all(source: &str) -> Result<Vec<Token>> {
    let stream: TokenStream = source.parse().map_err(|e| anyhow!("not Rust: {e}"))?;
    let mut tokens = Vec::new();
    flatten(stream, &mut tokens);
    Ok(tokens)
}

/// The tokens of `source` without items marked `#[cfg(test)]` or `#[cfg(all(test, …))]`.
pub(crate) fn without_tests(source: &str) -> Result<Vec<Token>> {
    let tokens = all(source)?;
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if is_test_attribute(&tokens[at..]) {
            at = item_end(&tokens, at);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    Ok(kept)
}

/// Whether `tokens` continues with exactly these texts.
pub(crate) fn starts_with(tokens: &[Token], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(token, text)| token.text == *text)
}

/// The index of the bracket that closes the one at `open`.
pub(crate) fn close_of(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len()
}

fn flatten(stream: TokenStream, out: &mut Vec<Token>) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        let line = tree.span().start().line;
        let mut push = |text: &str, line| out.push(Token { text: text.to_owned(), line });
        match tree {
            TokenTree::Ident(ident) => push(ident.to_string().trim_start_matches("r#"), line),
            TokenTree::Literal(_) => push("\"\"", line),
            TokenTree::Punct(punct) => {
                let joint = punct.as_char() == ':'
                    && punct.spacing() == Spacing::Joint
                    && matches!(trees.peek(), Some(TokenTree::Punct(next)) if next.as_char() == ':');
                if joint {
                    trees.next();
                    push("::", line);
                } else {
                    push(&punct.as_char().to_string(), line);
                }
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::None => ("", ""),
                };
                push(open, line);
                let end = group.span_close().start().line;
                flatten(group.stream(), out);
                out.push(Token { text: close.to_owned(), line: end });
            }
        }
    }
}

fn is_test_attribute(tokens: &[Token]) -> bool {
    starts_with(tokens, &["#", "[", "cfg", "(", "test", ")", "]"])
        || starts_with(tokens, &["#", "[", "cfg", "(", "all", "(", "test"])
}

/// The index behind the item whose first attribute is at `start`: behind its `;` or its `{…}`.
fn item_end(tokens: &[Token], start: usize) -> usize {
    let mut at = start;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            ";" => return at + 1,
            "{" => return close_of(tokens, at) + 1,
            "(" | "[" => at = close_of(tokens, at) + 1,
            _ => at += 1,
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(tokens: &[Token]) -> String {
        tokens.iter().map(|token| token.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_strings_are_not_code() {
        let source = "// use crate::a;\n/* crate::b /* crate::c */ */\nlet s = r#\"crate::d\"#;";
        assert_eq!(texts(&all(source).unwrap()), "let s = \"\" ;");
    }

    #[test]
    fn a_token_knows_its_line() {
        let tokens = all("mod a {\n\n    use crate::b;\n}\n").unwrap();
        assert_eq!(tokens.iter().find(|token| token.text == "crate").unwrap().line, 3);
        assert_eq!(tokens.last().unwrap().line, 4);
    }

    #[test]
    fn test_items_are_left_out_and_the_rest_stays() {
        let source = "
            #[cfg(test)] mod tests { use crate::hub::Hub; }
            #[cfg(test)] #[path = \"x.rs\"] mod more;
            #[cfg(all(test, feature = \"shuttle\"))] fn f() -> [u8; 2] { [1, 2] }
            #[cfg(not(test))] fn kept() {}";
        let kept = texts(&without_tests(source).unwrap());
        assert_eq!(kept, "# [ cfg ( not ( test ) ) ] fn kept ( ) { }");
    }
}
