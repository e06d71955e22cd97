//! Header blocks that other encoders made, against their own record of the fields.

use std::path::Path;

use taproot_protocols::http2::hpack::Decoder;
use taproot_testkit::skip;

type Fields = Vec<(String, String)>;

/// The blocks of one story: the wire bytes, and the fields in them.
fn story(path: &Path) -> Vec<(Vec<u8>, Fields)> {
    let text = std::fs::read_to_string(path).expect("the story is readable");
    let story: serde_json::Value = serde_json::from_str(&text).expect("the story is JSON");
    let cases = story["cases"].as_array().expect("cases");
    cases.iter().map(|case| (wire(&case["wire"]), fields(&case["headers"]))).collect()
}

fn wire(value: &serde_json::Value) -> Vec<u8> {
    let text = value.as_str().expect("hexadecimal").as_bytes();
    let digits = |two: &[u8]| {
        u8::from_str_radix(std::str::from_utf8(two).expect("digits"), 16).expect("a byte")
    };
    text.chunks(2).map(digits).collect()
}

fn fields(value: &serde_json::Value) -> Fields {
    let one = |field: &serde_json::Value| {
        let (name, value) = field.as_object()?.iter().next()?;
        Some((name.clone(), value.as_str()?.to_owned()))
    };
    value.as_array().expect("headers").iter().map(|field| one(field).expect("a field")).collect()
}

/// Decodes; `None` stands for what the decoder does not know.
fn decode(decoder: &mut Decoder, block: &[u8]) -> Vec<Option<(String, String)>> {
    let mut found = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let whole = decoder.decode(block, |field| {
        let both = field.name.as_ref().zip(field.value.as_ref());
        found.push(both.map(|(name, value)| (text(name), text(value))));
    });
    assert!(whole, "the whole block is decoded");
    found
}

#[test]
fn stories_of_other_encoders() {
    let Some(root) = std::env::var_os("TAPROOT_DATA") else { skip!("TAPROOT_DATA is not set") };
    let root = Path::new(&root).join("protocols/hpack-test-case");
    let (mut blocks, mut known, mut unknown) = (0, 0, 0);
    for encoder in ["nghttp2", "go-hpack"] {
        let Ok(folder) = std::fs::read_dir(root.join(encoder)) else {
            skip!("no {encoder} stories")
        };
        for entry in folder {
            let story = story(&entry.expect("an entry").path());
            let (mut decoder, mut late) = (Decoder::default(), Decoder::default());
            for (index, (block, expected)) in story.iter().enumerate() {
                let found = decode(&mut decoder, block);
                let found: Fields = found.into_iter().map(|one| one.expect("known")).collect();
                assert_eq!(&found, expected);
                blocks += 1;
                // Joined after a third of the story: unknown, or right.
                if index < story.len() / 3 {
                    continue;
                }
                for (one, expected) in decode(&mut late, block).iter().zip(expected) {
                    match one {
                        Some(one) => {
                            assert_eq!(one, expected);
                            known += 1;
                        }
                        None => unknown += 1,
                    }
                }
            }
        }
    }
    println!("{blocks} blocks; joined late {known} fields known, {unknown} unknown");
    assert!(blocks > 0 && known > 0, "nothing was compared");
}
