//! `/api/streams`: what is published, by whom, in which shape, and how its viewers keep up.
