//! Small diffs of the kinds that people write.

use super::*;

fn of(diff: &str) -> Effect {
    effect(&["src/a.go".into()], Some(diff))
}

#[test]
fn a_bound_that_shrinks_harms_and_one_that_grows_does_not() {
    let shrunk = of("-\tctx := WithTimeout(ctx, 5*time.Second)\n\
                     +\tctx := WithTimeout(ctx, 300*time.Millisecond)");
    assert!(shrunk.strength >= SHRUNK && shrunk.why.contains("5 to 0.3"), "{shrunk:?}");
    let grew = of("-  max_retries: 3\n+  max_retries: 4");
    assert!(grew.strength <= GREW, "{grew:?}");
    assert!(of("-pool_size = 50\n+pool_size = 5").strength >= SHRUNK);
}

#[test]
fn what_moves_tells_or_documents_changes_nothing() {
    let moved = of("-out, err := s.Get(ctx)\n-return out, err\n+return s.fetch(ctx)\n\
                    +func fetch(ctx) {\n+out, err := s.Get(ctx)\n+return out, err");
    assert!(moved.strength <= MOVED, "{moved:?}");
    let told = of("-\tlog.Printf(\"%d\", n)\n+\tlogger.Info(\"handled\",\n+\t\"status\", n,\n+\t)");
    assert!(told.strength <= TELLS_MORE, "{told:?}");
    assert!(effect(&["docs/a.md".into()], Some("-5\n+4")).strength <= IDLE);
    assert!(of("-// five\n+// six").strength <= IDLE);
}

#[test]
fn what_goes_or_is_renamed_changes_something() {
    let gone =
        of("-\tif exp.Add(leeway).Before(now) {\n+\tif exp.Before(now) {\n-const leeway = 120");
    assert!(gone.strength >= TAKEN_AWAY && gone.words.contains("leewa"), "{gone:?}");
    let renamed = of("-required := []string{\"name\", \"meta\"}\n\
                      +required := []string{\"name\", \"metadata\"}");
    assert!(renamed.strength >= RENAMED && renamed.why.contains("\"meta\""), "{renamed:?}");
}

#[test]
fn dependencies_weigh_by_their_version_and_unknown_texts_little() {
    let bump = |from: &str, to: &str| {
        effect(&["go.mod".into()], Some(&format!("-\tx/y {from}\n+\tx/y {to}"))).strength
    };
    assert!(bump("v1.2.3", "v1.2.4") < bump("v1.2.3", "v1.3.0"));
    assert!(bump("v1.2.3", "v1.3.0") < bump("v1.2.3", "v2.0.0"));
    assert!(effect(&["a.go".into()], None).strength <= UNKNOWN);
}

#[test]
fn any_text_is_read() {
    for odd in ["", "-", "+\"", "-'\u{1F980}", "+v1.", "-1..2e9ms*time.", "+é*ü\"\"`", "-=🦀\n+🦀"]
    {
        assert!(of(odd).strength.is_finite());
    }
}
