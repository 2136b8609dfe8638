//! The simulator: the real core under modelled networks. To come; nothing is here yet.
