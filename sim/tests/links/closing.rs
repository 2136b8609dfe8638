//! How connections end when programs end them.

use std::io::ErrorKind;

use forebay_sim::link::Capacity;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{at, bounded, feed, free, ms, pattern, read_within, simulate};

#[test]
fn a_closed_half_ends_one_way_and_data_goes_on_the_other() {
    simulate(1, async |world| {
        let mut connection = world.connect(&free(20)).await;
        connection.peer.write_all(&pattern(0, 100)).await.expect("it is open");
        connection.peer.shutdown().await.expect("it is open");
        let refused = connection.peer.write(&[1]).await.expect_err("this half is closed");
        assert_eq!(refused.kind(), ErrorKind::BrokenPipe);
        let mut heard = Vec::new();
        connection.node.read_to_end(&mut heard).await.expect("it ends in order");
        assert_eq!(heard, pattern(0, 100));
        // The end stays the end, and the other half is open for as long as it takes.
        assert_eq!(connection.node.read(&mut [0; 10]).await.expect("in order"), 0);
        let arrivals = world.read_all(connection.peer);
        for part in 0..10 {
            world.until(1_000 * (part + 1)).await;
            let bytes = pattern(part * 10_000, 10_000);
            connection.node.write_all(&bytes).await.expect("it is open");
        }
        connection.node.shutdown().await.expect("it is open");
        world.until(11_000).await;
        assert_eq!(arrivals.total(), 100_000);
        assert_eq!(arrivals.end(), Some((at(10_020), Ok(()))));
        drop(connection.node);
        assert_eq!(world.fabric.open_connections(), 0);
    });
}

#[test]
fn what_was_written_before_a_close_arrives_before_the_end() {
    simulate(1, async |world| {
        let mut connection = world.connect(&bounded(Capacity::Constant(800_000), 20)).await;
        world.until(1_000).await;
        connection.node.write_all(&pattern(0, 500_000)).await.expect("it is open");
        drop(connection.node);
        let arrivals = world.read_all(connection.peer);
        world.until(10_000).await;
        assert_eq!((arrivals.total(), arrivals.end()), (500_000, Some((at(6_020), Ok(())))));
        assert_eq!(world.fabric.open_connections(), 0);
    });
}

#[test]
fn a_close_with_unread_bytes_is_a_reset() {
    simulate(1, async |world| {
        let mut connection = world.connect(&free(20)).await;
        connection.node.write_all(&pattern(0, 100)).await.expect("it is open");
        connection.peer.write_all(&pattern(0, 100)).await.expect("it is open");
        world.until(1_000).await;
        drop(connection.node);
        // What had come before is still there.
        let mut heard = [0; 200];
        assert_eq!(connection.peer.read(&mut heard).await.expect("it had come"), 100);
        let end = read_within(&mut connection.peer, ms(21)).await.expect("it is told");
        assert_eq!(end.expect_err("bytes were lost").kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn bytes_that_come_behind_a_close_are_answered_with_a_reset() {
    simulate(1, async |world| {
        let mut connection = world.connect(&free(20)).await;
        world.until(1_000).await;
        drop(connection.node);
        assert_eq!(connection.peer.read(&mut [0; 10]).await.expect("in order"), 0);
        connection.peer.write_all(&pattern(0, 100)).await.expect("nobody has told it yet");
        world.until(1_059).await;
        connection.peer.write_all(&pattern(0, 100)).await.expect("nobody has told it yet");
        world.until(1_061).await;
        let told = connection.peer.write(&[1]).await.expect_err("it is told");
        assert_eq!(told.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_writer_that_waits_is_woken_by_the_end_of_its_connection() {
    for by_reset in [true, false] {
        simulate(1, async |world| {
            let mut link = free(20);
            link.window = 1_000;
            let mut connection = world.connect(&link).await;
            let writing = tokio::spawn(async move {
                let mut total = 0;
                loop {
                    match connection.node.write(&[0; 50_000]).await {
                        Ok(len) => total += len,
                        Err(error) => return (total, error.kind()),
                    }
                }
            });
            world.until(1_000).await;
            assert!(!writing.is_finished(), "nobody reads");
            match by_reset {
                true => world.fabric.reset_all(connection.host),
                false => drop(connection.peer),
            }
            world.until(1_100).await;
            assert!(writing.is_finished(), "it waits for ever");
            let (total, error) = writing.await.expect("it does not panic");
            assert_eq!((total, error), (1_000 + (1 << 20), ErrorKind::ConnectionReset));
        });
    }
}

#[test]
fn a_reader_that_waits_is_woken_by_the_end_of_its_connection() {
    simulate(1, async |world| {
        let connection = world.connect(&free(20)).await;
        let arrivals = world.read_all(connection.peer);
        world.until(1_000).await;
        drop(connection.node);
        world.until(2_000).await;
        assert_eq!(arrivals.end(), Some((at(1_020), Ok(()))));
        let connection = world.connect(&free(20)).await;
        let arrivals = world.read_all(connection.node);
        feed(connection.peer, 0, 10);
        world.until(3_000).await;
        world.fabric.reset_all(connection.host);
        world.until(3_001).await;
        assert_eq!(arrivals.end(), Some((at(3_000), Err(ErrorKind::ConnectionReset))));
    });
}
