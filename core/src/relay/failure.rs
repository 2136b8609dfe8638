//! Failure: why a connection to a target came to nothing, and whether another may do better.

use crate::rtmp::client::ClientError;

/// Why a relay is not, or no longer, connected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// In words for a person. Whatever is secret must not be in it.
    pub reason: String,
    /// What it means for the next attempt.
    pub outlook: Outlook,
}

/// Whether another attempt may do better.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outlook {
    /// It may: the target is away, slow, busy or restarting.
    Passing,
    /// It may, for a while: a target that has not noticed that a connection was cut says of its own
    /// old session that the name is in use, in the same words as of a name that is wrong.
    Doubtful,
    /// It will not, unless somebody changes something: credentials, a certificate, a name.
    Final,
}

impl Failure {
    /// Anything that may be otherwise the next time.
    pub fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), outlook: Outlook::Passing }
    }

    /// Anything that stays as it is.
    pub fn is_final(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), outlook: Outlook::Final }
    }
}

impl Outlook {
    /// By what a server said, or did not say.
    pub fn of(error: &ClientError) -> Self {
        match error {
            ClientError::Refused { code, description, .. } => of_refusal(code, description),
            ClientError::Connection(_)
            | ClientError::Unanswered { .. }
            | ClientError::ClosedEarly { .. } => Self::Passing,
        }
    }
}

/// Codes have a shape, `Net….….Word`, and the words are few; descriptions are anybody's. A code
/// that nobody has seen is taken for something that passes: an attempt a minute costs little.
fn of_refusal(code: &str, description: &str) -> Outlook {
    // `[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ]` comes as
    // NetConnection.Connect.Rejected, or without any code.
    if description.contains("authmod=") || description.contains("code=403") {
        return Outlook::Final;
    }
    let word = code.rsplit('.').next().unwrap_or_default();
    match (code, word) {
        (_, "BadName" | "BadConnection") => Outlook::Doubtful,
        (_, "Rejected" | "InvalidApp" | "Denied" | "NoAccess" | "Unauthorized" | "Forbidden") => {
            Outlook::Final
        }
        // `NetStream.Authenticate.UsherAccessDenied`, `…Authentication.Failed`.
        (code, _) if code.contains(".Authenticat") || word.ends_with("AccessDenied") => {
            Outlook::Final
        }
        _ => Outlook::Passing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say_means_what_their_operators_mean() {
        let outlook = |code: &str, description: &str| {
            let (code, description) = (code.into(), description.into());
            Outlook::of(&ClientError::Refused { command: "publish", code, description })
        };
        for code in [
            "NetConnection.Connect.Rejected",
            "NetConnection.Connect.InvalidApp",
            "NetStream.Publish.Denied",
            "NetStream.Publish.Rejected",
            "NetStream.Publish.Unauthorized",
            "NetStream.Record.NoAccess",
            "NetStream.Authenticate.UsherAccessDenied",
        ] {
            assert_eq!(outlook(code, "no"), Outlook::Final, "{code}");
        }
        let akamai = "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ";
        assert_eq!(outlook("", akamai), Outlook::Final);
        assert_eq!(outlook("NetStream.Publish.BadName", "Already publishing"), Outlook::Doubtful);
        for code in [
            "NetConnection.Connect.Failed",
            "NetConnection.Connect.AppShutdown",
            "NetConnection.Connect.Closed",
            "NetStream.Failed",
            "NetStream.Unpublish.Success",
            "",
        ] {
            assert_eq!(outlook(code, "later"), Outlook::Passing, "{code}");
        }
        let silent = ClientError::ClosedEarly { awaited: "publish" };
        assert_eq!(Outlook::of(&silent), Outlook::Passing);
    }
}
