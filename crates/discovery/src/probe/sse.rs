//! Splits a `text/event-stream` into its events.

/// One event of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Its type; empty where the stream names none.
    pub(super) name: Vec<u8>,
    pub(super) data: Vec<u8>,
}

/// Reads bytes as they come, in any pieces, and hands out whole events.
///
/// Work and memory grow with the bytes read and no faster; bounding those is
/// the reader's job.
#[derive(Debug, Default)]
pub(super) struct EventSplitter {
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_carriage_return: bool,
    past_first_line: bool,
}

impl EventSplitter {
    /// Takes the next bytes; returns each event that they complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for &byte in bytes {
            let ends_carriage_return = std::mem::take(&mut self.after_carriage_return);
            match byte {
                b'\n' if ends_carriage_return => {}
                b'\n' | b'\r' => {
                    self.after_carriage_return = byte == b'\r';
                    events.extend(self.end_line());
                }
                _ => self.line.push(byte),
            }
        }
        events
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let line = if self.past_first_line {
            line.as_slice()
        } else {
            self.past_first_line = true;
            line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&line)
        };
        if line.is_empty() {
            let had_data = std::mem::take(&mut self.has_data);
            let name = std::mem::take(&mut self.name);
            return had_data.then(|| Event { name, data: std::mem::take(&mut self.data) });
        }
        if let Some([b':', b' ', name @ ..] | [b':', name @ ..]) = line.strip_prefix(b"event") {
            self.name = name.to_vec();
            return None;
        }
        let value = match line.strip_prefix(b"data") {
            Some([]) => &[],
            Some([b':', b' ', value @ ..] | [b':', value @ ..]) => value,
            _ => return None,
        };
        if self.has_data {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
        self.has_data = true;
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn events_of(stream: &str, piece: usize) -> Vec<String> {
        let mut splitter = EventSplitter::default();
        stream
            .as_bytes()
            .chunks(piece)
            .flat_map(|bytes| splitter.push(bytes))
            .map(|event| String::from_utf8(event.data).expect("data is UTF-8"))
            .collect()
    }

    #[test]
    fn events_are_the_same_in_any_pieces_and_with_any_line_ends() {
        let stream = "\u{feff}data: one\nid: 7\n\n: note\n\nevent: message\ndata:two\ndata: lines\n\ndatabase: no\n\ndata\n\ndata: cut";
        for line_end in ["\n", "\r\n", "\r"] {
            let stream = stream.replace('\n', line_end);
            for piece in 1..=stream.len() {
                assert_eq!(
                    events_of(&stream, piece),
                    ["one", "two\nlines", ""],
                    "line end {line_end:?}, pieces of {piece}"
                );
            }
        }
    }

    #[test]
    fn event_has_the_name_that_stands_beside_its_data_and_no_other() {
        let stream = b"event: endpoint\ndata: /messages\n\nevent:lost\n\ndata: two\n\n";
        let events = EventSplitter::default().push(stream);
        let names: Vec<_> = events.iter().map(|event| event.name.as_slice()).collect();
        assert_eq!(names, [&b"endpoint"[..], b""]);
    }

    /// The rules of the format, line by line of a whole stream.
    fn plainly(stream: &[u8]) -> Vec<Vec<u8>> {
        let mut text = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
        let (mut events, mut data) = (Vec::new(), None::<Vec<u8>>);
        while let Some(end) = text.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, rest) = text.split_at(end);
            text = rest.strip_prefix(b"\r\n").unwrap_or(&rest[1..]);
            let (field, value) = match line.iter().position(|&byte| byte == b':') {
                Some(colon) => (&line[..colon], &line[colon + 1..]),
                None => (line, &[][..]),
            };
            if line.is_empty() {
                events.extend(data.take());
            } else if field == b"data" {
                let value = value.strip_prefix(b" ").unwrap_or(value);
                data = Some(match data {
                    Some(before) => [&before, &b"\n"[..], value].concat(),
                    None => value.to_vec(),
                });
            }
        }
        events
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        #[test]
        fn any_stream_in_any_pieces_is_split_as_the_rules_say(
            pieces in vec(vec(prop_oneof![
                3 => prop::sample::select(b"\n\r: da\xEF\xBB\xBF".to_vec()).prop_map(|byte| vec![byte]),
                2 => Just(b"data".to_vec()),
                1 => any::<u8>().prop_map(|byte| vec![byte]),
            ], 0..8), 0..8),
        ) {
            let pieces: Vec<Vec<u8>> = pieces.into_iter().map(|piece| piece.concat()).collect();
            let mut splitter = EventSplitter::default();
            let events: Vec<_> = pieces.iter().flat_map(|piece| splitter.push(piece)).map(|event| event.data).collect();
            prop_assert_eq!(events, plainly(&pieces.concat()));
        }
    }
}
