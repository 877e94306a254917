//! A document that is broken off anywhere can be ended.

use shared::json::Reader;

#[test]
fn every_beginning_of_a_document_can_be_ended() {
    let document =
        br#" {"a":[1,-2.5e+3,{"b\"c":"x\u00e9\\y\n"},[],{},null,true , false],"d":{"e":"f"} ,"g":[[ "h" ]]} "#;
    serde_json::from_slice::<serde_json::Value>(document).unwrap();
    for end in 2..document.len() {
        let mut reader = Reader::new(&["a"]);
        let mut text = &document[..end];
        while reader.next(&mut text).unwrap().is_some() {}
        let ended = [&document[..end], reader.closers().as_bytes()].concat();
        let read = serde_json::from_slice::<serde_json::Value>(&ended);
        assert!(read.is_ok(), "{}: {read:?}", String::from_utf8_lossy(&ended));
    }
}
