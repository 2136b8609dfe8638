//! The byte window and the socket's buffer: they stop a writer, and let it go on.

use std::time::Duration;

use forebay::shell::net::Stream as _;
use forebay_sim::net::SimStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::{Connected, feed, free, ms, pattern, simulate};

/// Writes in pieces of this length until nothing more is taken for a second. Says how much was.
async fn fill(stream: &mut SimStream, piece: u64) -> u64 {
    let mut total = 0;
    loop {
        let bytes = pattern(total, piece);
        match timeout(Duration::from_secs(1), stream.write(&bytes)).await {
            Ok(written) => total += written.expect("it is open") as u64,
            Err(_) => return total,
        }
    }
}

#[test]
fn a_writer_stops_at_the_window_and_its_own_buffer() {
    simulate(1, async |world| {
        let mut link = free(10);
        link.window = 100_000;
        let mut connection = world.connect(&link).await;
        assert_eq!(fill(&mut connection.node, 10_000).await, 100_000 + (1 << 20));
        let mut bounded = world.connect(&link).await;
        bounded.node.set_unsent_len_max(65_536).expect("it always can");
        // A write that begins below the bound is taken whole.
        assert_eq!(fill(&mut bounded.node, 10_000).await, 100_000 + 70_000);
    });
}

#[test]
fn what_is_sent_and_not_read_is_the_window_and_no_more() {
    simulate(1, async |world| {
        let mut link = free(10);
        link.window = 30_000;
        let mut connection = world.connect(&link).await;
        feed(connection.node, 0, 500_000);
        world.until(5_000).await;
        let mut buffer = vec![0; 1 << 20];
        // It was all there before the first read, so that one read takes it.
        let len = connection.peer.read(&mut buffer).await.expect("it is open");
        assert_eq!(len, 30_000);
        // The window opened with that read; the next comes a way later.
        let asked = world.now();
        assert_eq!(connection.peer.read(&mut buffer).await.expect("it is open"), 30_000);
        assert!(world.now().since(asked) >= ms(9), "{:?}", world.now().since(asked));
    });
}

#[test]
fn a_stopped_writer_goes_on_when_half_of_its_buffer_is_free() {
    simulate(1, async |world| {
        let mut link = free(1);
        link.window = 100_000;
        let Connected { mut peer, mut node, .. } = world.connect(&link).await;
        node.set_unsent_len_max(40_000).expect("it always can");
        assert_eq!(fill(&mut node, 10_000).await, 140_000);
        let writing = tokio::spawn(async move {
            node.write_all(&pattern(140_000, 10_000)).await.expect("it is open");
            node
        });
        world.until(world.now().millis() + 1).await;
        let mut buffer = vec![0; 19_000];
        peer.read_exact(&mut buffer).await.expect("it is open");
        world.until(world.now().millis() + 1_000).await;
        assert!(!writing.is_finished(), "a socket does not wake its writer for every packet");
        peer.read_exact(&mut buffer[..1_000]).await.expect("it is open");
        world.until(world.now().millis() + 1_000).await;
        assert!(writing.is_finished(), "there was room, and nobody was woken");
        let mut node = writing.await.expect("it could write");
        node.shutdown().await.expect("it is open");
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).await.expect("it is open");
        assert!(rest == pattern(20_000, 130_000), "{} bytes came", rest.len());
    });
}

#[test]
fn a_window_of_one_byte_is_slow_and_correct() {
    simulate(1, async |world| {
        let mut link = free(10);
        link.window = 1;
        let connection = world.connect(&link).await;
        let arrivals = world.read_all(connection.peer);
        let begin = world.now();
        feed(connection.node, 0, 200);
        world.until(10_000).await;
        assert_eq!(arrivals.total(), 200);
        let took = arrivals.pieces().last().map(|last| last.0.since(begin));
        assert!(took >= Some(ms(200 * 10)), "{took:?}");
    });
}
