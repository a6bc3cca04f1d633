use bytes::{BufMut, Bytes, BytesMut};
use ferrite_raft::{Body, Entry, Index, LogPosition, Message, NodeId, Term};

use super::*;

const LOCAL: NodeId = NodeId(1);
const REMOTE: NodeId = NodeId(2);

fn at(term: u64, index: u64) -> LogPosition {
    LogPosition { term: Term(term), index: Index(index) }
}

fn entry(term: u64, index: u64, length: usize) -> Entry {
    Entry { term: Term(term), index: Index(index), payload: Bytes::from(vec![7; length]).into() }
}

fn message(term: u64, body: Body) -> Message {
    Message { to: LOCAL, from: REMOTE, term: Term(term), body }
}

fn append(term: u64, prev: LogPosition, entries: Vec<Entry>) -> Message {
    message(term, Body::Append { prev, entries: entries.into(), commit: Index(3) })
}

fn write(stream: Stream, messages: &[Message]) -> Bytes {
    let (mut writer, mut out) = (Writer::new(stream), BytesMut::new());
    for message in messages {
        writer.message(message, &mut out);
        writer.heartbeat(&mut out);
    }
    out.freeze()
}

/// Reads `bytes` in pieces of `piece`.
fn read(stream: Stream, bytes: &Bytes, piece: usize) -> Result<Vec<Frame>, FrameError> {
    let mut reader = Reader::new(stream, LOCAL, REMOTE);
    let mut frames = Vec::new();
    for piece in bytes.chunks(piece) {
        reader.push(Bytes::copy_from_slice(piece));
        while let Some(frame) = reader.next()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

#[test]
fn what_is_written_is_read_however_it_is_cut() {
    let appends = vec![
        append(5, at(4, 10), vec![entry(5, 11, 100), entry(5, 12, 0)]),
        append(5, at(5, 12), vec![entry(5, 13, 5000)]),
        append(5, at(5, 13), vec![]),
        append(5, at(5, 9), vec![entry(5, 10, 1)]),
        append(6, at(5, 10), vec![entry(6, 11, 1)]),
    ];
    let others = vec![
        message(5, Body::Heartbeat { commit: Index(3), context: Bytes::from_static(b"12345678") }),
        message(5, Body::AppendAccepted { index: Index(7) }),
        message(0, Body::Propose(vec![Entry { payload: Bytes::from_static(b"x").into(), ..Entry::default() }].into())),
    ];
    for (stream, messages) in [(Stream::MsgApp, appends), (Stream::Message, others)] {
        let bytes = write(stream, &messages);
        for piece in [1, 2, 7, 8, 9, 64, bytes.len()] {
            let frames = read(stream, &bytes, piece).unwrap();
            let expected = messages.iter().flat_map(|message| [Frame::Message(message.clone()), Frame::Heartbeat]);
            assert_eq!(frames, expected.collect::<Vec<_>>(), "{stream:?} in pieces of {piece}");
        }
        // What was cut off is no frame, and no error either.
        assert!(read(stream, &bytes.slice(..bytes.len() - 12), 64).unwrap().len() < messages.len() * 2);
    }
}

#[test]
fn an_append_that_goes_on_is_short() {
    let kinds = |messages: &[Message]| {
        let (mut writer, mut kinds) = (Writer::new(Stream::MsgApp), Vec::new());
        for message in messages {
            let mut out = BytesMut::new();
            writer.message(message, &mut out);
            kinds.push(out[0]);
        }
        kinds
    };
    let first = append(5, at(5, 10), vec![entry(5, 11, 1)]);
    let next = append(5, at(5, 11), vec![entry(5, 12, 1)]);
    let repeated = append(5, at(5, 10), vec![entry(5, 11, 1)]);
    let newer = append(6, at(5, 11), vec![entry(6, 12, 1)]);
    assert_eq!(kinds(&[first.clone(), next.clone(), repeated, next, newer.clone()]), [2, 1, 2, 1, 2]);
    assert_eq!(kinds(&[newer, append(6, at(6, 12), vec![])]), [2, 1]);
    assert_eq!(kinds(&[append(5, at(4, 10), vec![])]), [2], "the entry before is of another term");
}

#[test]
fn the_bytes_are_those_of_etcd() {
    // Recorded forms: a link heartbeat, and an append that goes on.
    let mut out = BytesMut::new();
    Writer::new(Stream::Message).heartbeat(&mut out);
    assert_eq!(&out[..], b"\0\0\0\0\0\0\0\x02\x08\x08");
    let mut writer = Writer::new(Stream::MsgApp);
    writer.message(&append(5, at(5, 10), vec![]), &mut BytesMut::new());
    let mut out = BytesMut::new();
    writer.message(&append(5, at(5, 10), vec![entry(5, 11, 1)]), &mut out);
    let head = b"\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x09";
    assert_eq!(&out[..head.len()], head);
    assert_eq!(&out[head.len() + 9..], b"\0\0\0\0\0\0\0\x03");
}

#[test]
fn bytes_that_are_no_frame_end_the_stream() {
    let check = |stream, build: fn(&mut BytesMut), expected: &str| {
        let mut bytes = BytesMut::new();
        build(&mut bytes);
        let error = read(stream, &bytes.freeze(), 1000).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(Stream::Message, |out| out.put_u64(u64::MAX), "more than");
    check(Stream::Message, |out| (out.put_u64(1), out.put_u8(7)).0, "unreadable message");
    check(Stream::Message, |out| (out.put_u64(2), out.put_slice(&[8, 0])).0, "no member sends");
    check(Stream::MsgApp, |out| out.put_u8(3), "3 is no kind");
    check(Stream::MsgApp, |out| (out.put_u8(2), out.put_u64(MAX_FRAME_BYTES + 1)).0, "more than");
    check(Stream::MsgApp, |out| (out.put_u8(1), out.put_u64(0), out.put_u64(9)).0, "does not follow");
    let large = |out: &mut BytesMut| {
        out.put_u8(1);
        out.put_u64(u64::MAX);
        out.put_u64(u64::MAX - 3);
    };
    check(Stream::MsgApp, large, "more than");
}

#[test]
fn arbitrary_bytes_do_no_harm() {
    let mut seed = 88172645463325252_u64;
    let mut byte = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    };
    for _ in 0..2000 {
        // Small numbers first, so that many get behind the first length.
        let bytes: Bytes = (0..200).map(|_| if byte() < 200 { 0 } else { byte() % 12 }).collect();
        for stream in Stream::ALL {
            let whole = read(stream, &bytes, 200).map_err(|error| error.to_string());
            let in_pieces = read(stream, &bytes, 3).map_err(|error| error.to_string());
            assert_eq!(whole, in_pieces, "{bytes:?}");
        }
    }
}
