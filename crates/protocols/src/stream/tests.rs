use super::*;

fn piece(position: u64, bytes: &[u8]) -> Piece<'_> {
    Piece { position, length: bytes.len() as u64, bytes, time: position }
}

fn text(stream: &ByteStream) -> String {
    String::from_utf8_lossy(stream.view().bytes).into_owned()
}

#[test]
fn puts_pieces_in_order() {
    let mut stream = ByteStream::from_start(Limits::default());
    stream.push(piece(3, b"def"));
    assert_eq!(text(&stream), "");
    stream.push(piece(6, b"ghi"));
    stream.push(piece(0, b"abc"));
    assert_eq!(text(&stream), "abcdefghi");
    assert_eq!(stream.counts().reordered_pieces, 2);
}

#[test]
fn drops_what_it_has_already() {
    let mut stream = ByteStream::from_start(Limits::default());
    stream.push(piece(0, b"abcd"));
    stream.push(piece(0, b"ab"));
    stream.push(piece(2, b"cdef"));
    assert_eq!(text(&stream), "abcdef");
    assert_eq!(stream.counts().duplicate, 4);
    assert_eq!(stream.counts().seen, 6);
}

#[test]
fn a_late_join_begins_at_the_first_piece() {
    let mut stream = ByteStream::joined_late(Limits::default());
    stream.push(piece(1000, b"abc"));
    let view = stream.view();
    assert_eq!((view.position, view.bytes), (1000, &b"abc"[..]));
}

#[test]
fn truncation_is_a_hole_of_known_length() {
    let mut stream = ByteStream::from_start(Limits::default());
    stream.push(Piece { position: 0, length: 10, bytes: b"abc", time: 1 });
    stream.push(piece(10, b"next"));
    assert_eq!(stream.view().then, Then::Hole(HoleKind::Truncated));
    stream.skip(10);
    assert_eq!(text(&stream), "next");
    assert_eq!(stream.counts().truncated, 7);
}

#[test]
fn a_missing_piece_becomes_a_gap_when_patience_ends() {
    let mut stream = ByteStream::from_start(Limits::default());
    stream.push(piece(0, b"abc"));
    stream.push(Piece { position: 5, length: 2, bytes: b"fg", time: 10 });
    assert_eq!(stream.view().then, Then::More);
    stream.give_up_waiting(10 + Limits::default().patience + 1);
    assert_eq!(stream.view().then, Then::Hole(HoleKind::Missing));
    assert_eq!(stream.counts().missing, 2);
}

#[test]
fn held_pieces_are_bounded() {
    let limits = Limits { held_pieces: 4, ..Limits::default() };
    let mut stream = ByteStream::from_start(limits);
    for at in 1..100 {
        stream.push(Piece { position: at * 10, length: 1, bytes: b"x", time: 0 });
    }
    assert!(stream.held.len() <= 4);
    assert!(stream.counts().missing > 0);
}

#[test]
fn the_buffer_is_bounded_and_says_so() {
    let limits = Limits { buffered_bytes: 8, ..Limits::default() };
    let mut stream = ByteStream::from_start(limits);
    stream.push(piece(0, b"0123456789"));
    assert_eq!(stream.view().bytes.len(), 8);
    assert_eq!(stream.view().then, Then::Hole(HoleKind::Overflow));
    assert_eq!(stream.counts().overflow, 2);
}

#[test]
fn a_skip_reaches_into_pieces_to_come() {
    let mut stream = ByteStream::from_start(Limits::default());
    stream.push(piece(0, b"ab"));
    stream.skip(5);
    assert!(stream.is_skipping());
    stream.push(Piece { position: 2, length: 2, bytes: b"", time: 7 });
    stream.push(piece(4, b"xrest"));
    assert!(!stream.is_skipping());
    assert_eq!(text(&stream), "rest");
    assert_eq!(stream.view().position, 5);
}

#[test]
fn the_end_cuts_a_skip_short() {
    let mut stream = ByteStream::from_start(Limits::default());
    stream.push(piece(0, b"ab"));
    stream.skip(5);
    stream.end(9);
    let view = stream.view();
    assert_eq!((view.unskipped, view.then, view.last), (3, Then::End, 9));
}

#[test]
fn positions_near_the_limit_do_not_overflow() {
    let mut stream = ByteStream::joined_late(Limits::default());
    stream.push(Piece { position: u64::MAX - 1, length: u64::MAX, bytes: b"ab", time: 0 });
    stream.push(Piece { position: 0, length: u64::MAX, bytes: b"ab", time: 0 });
    stream.skip(u64::MAX);
    stream.end(1);
    assert!(stream.is_finished());
}

#[test]
fn a_source_in_order_is_not_waited_for() {
    let mut stream = ByteStream::from_start(Limits::in_order());
    stream.push(piece(0, b"abc"));
    stream.push(piece(5, b"fg"));
    assert_eq!(stream.view().then, Then::Hole(HoleKind::Missing));
}
