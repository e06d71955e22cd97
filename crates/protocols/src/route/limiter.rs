//! Bounds the number of routes of one service by learning which positions vary.

use super::template;

/// Bounds of a [`RouteLimiter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteLimits {
    /// A position under one prefix that takes more values becomes `{*}`.
    pub values: usize,
    /// Most nodes of the tree; once reached, what is new becomes `{*}`.
    pub nodes: usize,
}

impl Default for RouteLimits {
    fn default() -> Self {
        Self { values: 64, nodes: 4096 }
    }
}

#[derive(Debug, Default)]
struct Node {
    /// Sorted by segment; few enough to search without hashing.
    children: Vec<(Box<str>, Node)>,
    /// Set once the position varies too much; `children` is empty then.
    any: Option<Box<Node>>,
}

impl Node {
    fn size(&self) -> usize {
        let any = self.any.as_ref().map_or(0, |node| 1 + node.size());
        any + self.children.iter().map(|(_, node)| 1 + node.size()).sum::<usize>()
    }
}

/// The routes of one service.
///
/// A position is judged when it is first seen, so up to `values` routes of a
/// position may have been given out before it becomes `{*}`.
#[derive(Debug, Default)]
pub struct RouteLimiter {
    limits: RouteLimits,
    root: Node,
    nodes: usize,
    collapsed: u64,
    refused: u64,
}

impl RouteLimiter {
    /// An empty limiter.
    pub fn new(limits: RouteLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The route of a raw request target: [`template`], then what was learned.
    pub fn route(&mut self, target: &str) -> String {
        let route = template(target);
        if !route.starts_with('/') {
            return route;
        }
        let mut out = String::with_capacity(route.len());
        let mut node = &mut self.root;
        for segment in route.split('/').skip(1) {
            out.push('/');
            let place = node.children.binary_search_by(|(known, _)| (**known).cmp(segment));
            if node.any.is_none() && place.is_err() {
                if self.nodes >= self.limits.nodes {
                    self.refused += 1;
                    out.push_str("{*}");
                    return out;
                }
                if node.children.len() >= self.limits.values {
                    self.nodes -= node.size();
                    node.children.clear();
                    node.any = Some(Box::default());
                    self.collapsed += 1;
                }
                self.nodes += 1;
            }
            node = if let Some(any) = &mut node.any {
                out.push_str("{*}");
                any
            } else {
                out.push_str(segment);
                let at = place.unwrap_or_else(|at| {
                    node.children.insert(at, (segment.into(), Node::default()));
                    at
                });
                &mut node.children[at].1
            };
        }
        out
    }

    /// Positions that became `{*}`.
    pub fn collapsed(&self) -> u64 {
        self.collapsed
    }

    /// Requests whose route was cut because the tree was full.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_position_with_many_values_collapses() {
        let mut limiter = RouteLimiter::new(RouteLimits { values: 3, nodes: 100 });
        for name in ["ann", "bob", "cem"] {
            assert_eq!(limiter.route(&format!("/user/{name}/cart")), format!("/user/{name}/cart"));
        }
        assert_eq!(limiter.route("/user/dora/cart"), "/user/{*}/cart");
        assert_eq!(limiter.route("/user/ann/cart"), "/user/{*}/cart");
        assert_eq!(limiter.route("/health"), "/health");
        assert_eq!(limiter.collapsed(), 1);
    }

    #[test]
    fn a_full_tree_refuses_and_counts() {
        let mut limiter = RouteLimiter::new(RouteLimits { values: 10, nodes: 4 });
        limiter.route("/a/b/c/d");
        assert_eq!(limiter.route("/e/f"), "/{*}");
        assert_eq!(limiter.route("/a/b/c/d"), "/a/b/c/d");
        assert_eq!(limiter.refused(), 1);
    }

    proptest! {
        #[test]
        fn the_number_of_routes_is_bounded(paths in prop::collection::vec("(/[a-z]{1,3}){1,4}", 0..400)) {
            let limits = RouteLimits { values: 4, nodes: 64 };
            let mut limiter = RouteLimiter::new(limits);
            for path in &paths {
                limiter.route(path);
            }
            prop_assert!(limiter.nodes <= limits.nodes);
            prop_assert_eq!(limiter.nodes, limiter.root.size());
            let learned: HashSet<String> = paths.iter().map(|path| limiter.route(path)).collect();
            // Each ends at a node, or right behind one where the tree was full.
            prop_assert!(learned.len() <= 2 * (limits.nodes + 1));
        }

        #[test]
        fn any_target_gives_a_bounded_route(target in "\\PC{0,400}") {
            let route = template(&target);
            prop_assert!(route.split('/').count() <= super::super::MOST_SEGMENTS + 2);
            prop_assert!(!route.contains('?'));
        }
    }
}
