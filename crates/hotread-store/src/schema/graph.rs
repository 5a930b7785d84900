//! A schema as a graph, and the number of steps that a value takes through it.
//!
//! The nodes are the schema's subschemas. An edge leads to a subschema that is applied to the same
//! value (`allOf`, `$ref` and such), or to one that is applied to the value's members or items. A node
//! is evaluated once for each path that leads to it, so the evaluations are the paths, counted level by
//! level of the value. A cycle of edges that stay at the same value has no bound. A cycle that descends
//! is bounded by the depth of the value, and may still double the count with each level.
//!
//! The count is never too low. It is too high where alternatives exclude each other for reasons other
//! than the names of members, and where the evaluation ends early.

use serde_json::Value as Json;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Maximum number of regular expressions in a schema. Each compiles to at most
/// [`MAX_PATTERN_SIZE`](super::MAX_PATTERN_SIZE).
pub(super) const MAX_PATTERNS: usize = 64;
/// Longest regular expression, in bytes.
pub(super) const MAX_PATTERN_BYTES: usize = 1 << 10;
/// Maximum number of subschemas that are evaluated for one value, not counting its members and items. A
/// schema of a thousand alternatives, each with some parts, stays below it.
const MAX_EXPANSION: u64 = 20_000;
/// Maximum work that the count itself may take, in edges that are followed: a few tenths of a second.
const MAX_FOLLOWED: u64 = 4_000_000;
/// Bytes of a value's text that count as one step.
const BYTES_A_STEP: usize = 16;
/// Levels of a value, including the outermost: `MAX_VALUE_DEPTH`, and one for the innermost values.
const LEVELS: usize = hotread_proto::limits::MAX_VALUE_DEPTH + 1;

/// The subschemas and their costs.
#[derive(Debug)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    /// The nodes in topological order of the edges to the same value, and the index of each node in it.
    order: Vec<usize>,
    place: Vec<usize>,
    /// Set if a subschema visits all members again for each member.
    is_quadratic: bool,
    /// Steps for one value on each level, if they are independent of the value.
    levels: Vec<u64>,
}

#[derive(Debug, Default)]
struct Node {
    /// Steps of the node itself: its keywords, and the elements that they list.
    weight: u64,
    /// Subschemas that are applied to the same value.
    same: Vec<usize>,
    /// Subschemas that are applied to members and items.
    down: Vec<(Child, usize)>,
    /// Bytes of patterns that members' names are compared with.
    names_weight: u64,
    /// Set if the subschemas for the same value are evaluated once more for each member.
    is_quadratic: bool,
}

/// The members or items to which a subschema is applied.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Child {
    /// All members, or all that the schema does not mention otherwise.
    Member,
    /// The member of this name.
    Name(String),
    /// All items.
    Item,
    /// The item with this index.
    Index(usize),
}

/// The number of times that each node is applied to a value.
type Applied = BTreeMap<usize, u64>;

impl Graph {
    /// Returns the graph of a schema. Fails if the cost of a value is unbounded or too high; the error
    /// continues the words "the schema".
    pub(super) fn of(schema: &Json) -> Result<Self, String> {
        let mut builder = Builder::new(schema);
        builder.node("", schema)?;
        // References lead to nodes that are known only now, and that may have references of their own.
        while let Some((from, pointer)) = builder.references.pop() {
            builder.refer(from, &pointer)?;
        }
        let nodes = builder.nodes;
        let order = order(&nodes)?;
        let mut place = vec![0; nodes.len()];
        for (at, node) in order.iter().enumerate() {
            place[*node] = at;
        }
        let mut graph = Self {
            is_quadratic: nodes.iter().any(|node| node.is_quadratic),
            nodes,
            order,
            place,
            levels: Vec::new(),
        };
        // Each node may be the one that a member leads to.
        let most = graph.sums(0, |_| 1).into_iter().max().unwrap_or(0);
        if most > MAX_EXPANSION {
            return Err(format!(
                "a value may take {most} evaluations of its parts, and at most {MAX_EXPANSION} are \
                 allowed; refer to parts less often in allOf, anyOf and oneOf"
            ));
        }
        graph.levels = graph.by_level(&[1; LEVELS]).ok_or(
            "its parts refer to each other in too many ways to bound the cost of a value; make it simpler",
        )?;
        Ok(graph)
    }

    /// Returns the most steps for a value of one step, on any level.
    pub(super) fn most_steps(&self) -> u64 {
        match self.is_quadratic {
            true => u64::MAX,
            false => self.levels.iter().copied().max().unwrap_or(0),
        }
    }

    /// Returns the most steps for a value.
    pub(super) fn steps(&self, value: &Json) -> u64 {
        let (mut sizes, mut widest) = ([0; LEVELS], [1; LEVELS]);
        measure(value, 0, &mut sizes, &mut widest);
        let levels = match self.is_quadratic {
            true => self.by_level(&widest).map(Cow::Owned),
            false => Some(Cow::Borrowed(&self.levels)),
        };
        let Some(levels) = levels else {
            return u64::MAX;
        };
        let steps = sizes.iter().zip(levels.iter());
        steps.fold(0, |sum, (size, steps)| {
            size.saturating_mul(*steps).saturating_add(sum)
        })
    }

    /// Returns, for each node, the sum of `cost` over all evaluations for one value with `width`
    /// members.
    fn sums(&self, width: u64, cost: impl Fn(&Node) -> u64) -> Vec<u64> {
        let mut sums: Vec<u64> = self.nodes.iter().map(cost).collect();
        for &at in self.order.iter().rev() {
            let node = &self.nodes[at];
            let times = node.times(width);
            for &to in &node.same {
                sums[at] = sums[at].saturating_add(sums[to].saturating_mul(times));
            }
        }
        sums
    }

    /// Returns the most steps for a value on each level, where the levels above have as many members as
    /// `widest` gives. Returns `None` if the count takes too long. Follows the paths, by names and
    /// indexes, on which a value may be reached at each level, as the set of nodes that are applied to
    /// it; many paths share one set.
    fn by_level(&self, widest: &[u64; LEVELS]) -> Option<Vec<u64>> {
        let mut steps = Vec::with_capacity(LEVELS);
        let mut ways = BTreeSet::from([Applied::from([(0, 1)])]);
        let (mut names, mut left) = (0, MAX_FOLLOWED);
        for &width in widest {
            let sums = self.sums(width, |node| node.weight);
            let cost = |way: &Applied| {
                way.iter().fold(0_u64, |cost, (&at, times)| {
                    times.saturating_mul(sums[at]).saturating_add(cost)
                })
            };
            let most = ways.iter().map(cost).max().unwrap_or(0);
            steps.push(most.saturating_add(names));
            let mut below = BTreeSet::new();
            names = 0;
            for way in &ways {
                let for_names = self.descend(way, width, &mut below, &mut left)?;
                names = names.max(for_names);
            }
            let is_steady = below == ways && !self.is_quadratic;
            ways = below;
            if ways.is_empty() && names == 0 {
                break;
            }
            if is_steady {
                let last = steps.last().copied().unwrap_or(0);
                steps.resize(LEVELS, last.max(most.saturating_add(names)));
            }
            if steps.len() == LEVELS {
                break;
            }
        }
        // The schema does not apply to deeper values.
        steps.resize(LEVELS, 0);
        Some(steps)
    }

    /// Adds the nodes that `way` applies to members and items. Returns the steps for the names of
    /// members.
    fn descend(
        &self,
        way: &Applied,
        width: u64,
        below: &mut BTreeSet<Applied>,
        left: &mut u64,
    ) -> Option<u64> {
        let mut children: BTreeMap<&Child, Applied> = BTreeMap::new();
        let mut names = 0_u64;
        // In topological order, so that a node follows all nodes that lead to it.
        let mut open: BTreeMap<usize, u64> = BTreeMap::new();
        for (&at, &times) in way {
            open.insert(self.place[at], times);
        }
        while let Some((place, times)) = open.pop_first() {
            let node = &self.nodes[self.order[place]];
            *left = left.checked_sub(1 + (node.same.len() + node.down.len()) as u64)?;
            for &to in &node.same {
                let count = open.entry(self.place[to]).or_default();
                *count = count.saturating_add(times.saturating_mul(node.times(width)));
            }
            let for_names = node.names_weight.saturating_mul(times);
            names = names.saturating_add(for_names);
            for (child, to) in &node.down {
                let count = children.entry(child).or_default().entry(*to).or_default();
                *count = count.saturating_add(times);
            }
        }
        for (all, of_members) in [(Child::Member, true), (Child::Item, false)] {
            let to_all = children.remove(&all).unwrap_or_default();
            let named = children.iter().filter(|(child, _)| match child {
                Child::Name(_) => of_members,
                Child::Index(_) => !of_members,
                _ => false,
            });
            for (_, to_one) in named {
                let mut applied = to_all.clone();
                *left = left.checked_sub((to_all.len() + to_one.len()) as u64)?;
                for (&to, times) in to_one {
                    let count = applied.entry(to).or_default();
                    *count = count.saturating_add(*times);
                }
                below.insert(applied);
            }
            if !to_all.is_empty() {
                below.insert(to_all);
            }
        }
        Some(names)
    }
}

impl Node {
    /// Returns the number of evaluations of each subschema for the same value, if that value has
    /// `width` members.
    fn times(&self, width: u64) -> u64 {
        match self.is_quadratic {
            true => width.saturating_add(1),
            false => 1,
        }
    }
}

/// Counts a value's parts by level, text by its length, and the members of the widest part.
fn measure(value: &Json, level: usize, sizes: &mut [u64; LEVELS], widest: &mut [u64; LEVELS]) {
    let text = |text: &str| (text.len() / BYTES_A_STEP) as u64;
    // Values are not deeper than this.
    let level = level.min(LEVELS - 1);
    sizes[level] += 1;
    match value {
        Json::String(string) => sizes[level] += text(string),
        Json::Array(items) => {
            widest[level] = widest[level].max(items.len() as u64);
            for item in items {
                measure(item, level + 1, sizes, widest);
            }
        }
        Json::Object(members) => {
            widest[level] = widest[level].max(members.len() as u64);
            for (name, member) in members {
                sizes[(level + 1).min(LEVELS - 1)] += text(name);
                measure(member, level + 1, sizes, widest);
            }
        }
        _ => {}
    }
}

/// Returns the nodes in topological order of the edges to the same value.
fn order(nodes: &[Node]) -> Result<Vec<usize>, String> {
    let mut into = vec![0; nodes.len()];
    for node in nodes {
        node.same.iter().for_each(|&to| into[to] += 1);
    }
    let mut order: Vec<usize> = (0..nodes.len()).filter(|&at| into[at] == 0).collect();
    let mut next = 0;
    while let Some(&at) = order.get(next) {
        next += 1;
        for &to in &nodes[at].same {
            into[to] -= 1;
            if into[to] == 0 {
                order.push(to);
            }
        }
    }
    if order.len() < nodes.len() {
        let reason = "a part refers to itself for the same value, which never ends; refer to it from \
                      properties or items";
        return Err(reason.to_owned());
    }
    Ok(order)
}

/// The state of a graph under construction.
struct Builder<'a> {
    root: &'a Json,
    nodes: Vec<Node>,
    /// Nodes by their location, as a JSON pointer.
    places: HashMap<String, usize>,
    /// Locations of subschemas by the names that references may use for them.
    anchors: HashMap<&'a str, Vec<String>>,
    /// Locations of documents within the document: `$id`.
    documents: Vec<String>,
    references: Vec<(usize, String)>,
    patterns: usize,
}

impl<'a> Builder<'a> {
    fn new(root: &'a Json) -> Self {
        let mut builder = Self {
            root,
            nodes: Vec::new(),
            places: HashMap::new(),
            anchors: HashMap::new(),
            documents: vec![String::new()],
            references: Vec::new(),
            patterns: 0,
        };
        builder.find_anchors(root, String::new());
        builder
    }

    /// Collects names everywhere, since a reference may lead to a place that no keyword leads to.
    fn find_anchors(&mut self, json: &'a Json, place: String) {
        match json {
            Json::Object(members) => {
                for name in ["$anchor", "$dynamicAnchor", "$id", "id"] {
                    let Some(text) = members.get(name).and_then(Json::as_str) else {
                        continue;
                    };
                    if name.ends_with("id") && !text.starts_with('#') {
                        self.documents.push(place.clone());
                    }
                    let anchor = text.trim_start_matches('#');
                    self.anchors.entry(anchor).or_default().push(place.clone());
                }
                for (name, member) in members {
                    self.find_anchors(member, join(&place, name));
                }
            }
            Json::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.find_anchors(item, join(&place, &at.to_string()));
                }
            }
            _ => {}
        }
    }

    /// Returns the node of the subschema at a location, created on the first visit.
    fn node(&mut self, place: &str, schema: &'a Json) -> Result<usize, String> {
        if let Some(known) = self.places.get(place) {
            return Ok(*known);
        }
        let at = self.nodes.len();
        self.nodes.push(Node::default());
        self.places.insert(place.to_owned(), at);
        let mut node = Node {
            weight: 1,
            ..Node::default()
        };
        if let Json::Object(members) = schema {
            for (name, keyword) in members {
                self.keyword(at, &mut node, &join(place, name), name, keyword)?;
            }
        }
        self.nodes[at] = node;
        Ok(at)
    }

    fn keyword(
        &mut self,
        at: usize,
        node: &mut Node,
        place: &str,
        name: &str,
        keyword: &'a Json,
    ) -> Result<(), String> {
        node.weight += 1;
        node.is_quadratic |= matches!(name, "unevaluatedProperties" | "unevaluatedItems");
        match (name, keyword) {
            ("not" | "if" | "then" | "else" | "contentSchema" | "extends", _) => {
                node.same.push(self.node(place, keyword)?);
            }
            ("allOf" | "anyOf" | "oneOf", Json::Array(parts)) => {
                for (n, part) in parts.iter().enumerate() {
                    let part = self.node(&join(place, &n.to_string()), part)?;
                    node.same.push(part);
                }
            }
            ("dependentSchemas" | "dependencies", Json::Object(parts)) => {
                for (of, part) in parts {
                    match part {
                        Json::Array(names) => node.weight += names.len() as u64,
                        part => node.same.push(self.node(&join(place, of), part)?),
                    }
                }
            }
            ("properties", Json::Object(parts)) => {
                for (of, part) in parts {
                    let to = self.node(&join(place, of), part)?;
                    node.down.push((Child::Name(of.clone()), to));
                }
            }
            ("patternProperties", Json::Object(parts)) => {
                for (pattern, part) in parts {
                    node.names_weight += self.pattern(pattern)?;
                    let to = self.node(&join(place, pattern), part)?;
                    node.down.push((Child::Member, to));
                }
            }
            ("items" | "prefixItems", Json::Array(parts)) => {
                for (n, part) in parts.iter().enumerate() {
                    let to = self.node(&join(place, &n.to_string()), part)?;
                    node.down.push((Child::Index(n), to));
                }
            }
            ("additionalProperties" | "propertyNames" | "unevaluatedProperties", part) => {
                node.down.push((Child::Member, self.node(place, part)?));
            }
            ("items" | "additionalItems" | "contains" | "unevaluatedItems", part) => {
                node.down.push((Child::Item, self.node(place, part)?));
            }
            ("$ref" | "$dynamicRef" | "$recursiveRef", Json::String(to)) => {
                self.references.push((at, to.clone()));
            }
            ("pattern", Json::String(pattern)) => node.weight += self.pattern(pattern)?,
            // Applied only by reference.
            ("$defs" | "definitions", _) => {}
            // Annotations, and lists of values.
            _ => node.weight += size(keyword),
        }
        Ok(())
    }

    /// Returns the cost of a regular expression for each piece of text.
    fn pattern(&mut self, pattern: &str) -> Result<u64, String> {
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS {
            return Err(format!(
                "it has more than {MAX_PATTERNS} regular expressions; use fewer"
            ));
        }
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(format!(
                "a regular expression has more than {MAX_PATTERN_BYTES} bytes; shorten it"
            ));
        }
        Ok(pattern.len() as u64)
    }

    /// Returns `true` if the document may be within this one. The specification's own documents, whose
    /// cost is unknown, never are.
    fn is_within(&self, document: &str) -> bool {
        let mut ids = self.anchors.keys().filter(|id| !id.is_empty());
        !document.contains("json-schema.org")
            && ids.any(|id| id.ends_with(document) || document.ends_with(*id))
    }

    /// Adds the edges of a reference: to all possible targets, if it is ambiguous.
    fn refer(&mut self, from: usize, reference: &str) -> Result<(), String> {
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let fragment = decode(fragment);
        let mut places = BTreeSet::new();
        if !document.is_empty() && !self.is_within(document) {
            // The reference has no target.
        } else if fragment.is_empty() || fragment.starts_with('/') {
            // In the document itself, or in one within it.
            let documents = self.documents.iter();
            places.extend(documents.map(|base| format!("{base}{fragment}")));
        } else if let Some(anchored) = self.anchors.get(fragment.as_str()) {
            places.extend(anchored.iter().cloned());
        }
        let root = self.root;
        let found = places.into_iter();
        let found = found.filter_map(|place| Some((root.pointer(&place)?, place)));
        let found: Vec<_> = found.collect();
        if found.is_empty() {
            let shown: String = reference.chars().take(64).collect();
            return Err(format!(
                "the reference {shown:?} leads to nothing in it; other documents are not looked up"
            ));
        }
        for (schema, place) in found {
            let to = self.node(&place, schema)?;
            self.nodes[from].same.push(to);
        }
        Ok(())
    }
}

/// Appends a part to a JSON pointer (RFC 6901).
fn join(place: &str, name: &str) -> String {
    format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Returns the number of parts of a JSON text.
fn size(json: &Json) -> u64 {
    match json {
        Json::Array(items) => items.iter().map(size).sum::<u64>() + 1,
        Json::Object(members) => members.values().map(size).sum::<u64>() + 1,
        _ => 1,
    }
}

/// Decodes percent-encoded text. Invalid escapes are kept.
fn decode(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2);
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(b'%'));
        bytes.extend_from_slice(&part.as_bytes()[byte.map_or(0, |_| 2)..]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
