//! Which tasks there are, learnt from the data: its groups, where it names any, else clusters of the vectors. Small
//! groups join the nearest large one. What a task is called has no meaning for the router.

use std::collections::BTreeMap;

use super::dataset::Suite;
use super::solve::{Grid, add_scaled, dot};
use crate::base::limit;

/// Queries that make a task of a group. With less its row of the table would be its prior.
const TASK_QUERIES_MIN: usize = 20;
/// Clusters of data that names no groups.
const CLUSTERS: usize = 16;
/// Queries for each cluster, at least.
const CLUSTER_QUERIES: usize = 40;
/// Rounds of clustering.
const ROUNDS: usize = 25;

/// Tasks and the task of each query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taxonomy {
    /// Names.
    pub tasks: Vec<String>,
    /// For each query, in the order of suites and queries, the place of its task.
    pub labels: Vec<usize>,
}

/// Finds the tasks of `suites`, whose queries have the rows of `vectors`, of length one.
pub fn learn(suites: &[Suite], vectors: &Grid) -> Taxonomy {
    let names = group_names(suites);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    names.iter().flatten().for_each(|name| *counts.entry(name).or_default() += 1);
    let mut kept: Vec<(&str, usize)> =
        counts.into_iter().filter(|(_, count)| *count >= TASK_QUERIES_MIN).collect();
    if kept.len() < 2 && names.iter().any(Option::is_none) || kept.is_empty() {
        return clusters(vectors);
    }
    kept.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
    kept.truncate(limit::LEARNED_TASKS_MAX);
    let mut tasks: Vec<String> = kept.iter().map(|(name, _)| (*name).to_owned()).collect();
    tasks.sort();
    let known: Vec<Option<usize>> = names
        .iter()
        .map(|name| name.as_ref().and_then(|name| tasks.binary_search(name).ok()))
        .collect();
    let middles = middles(vectors, &known, tasks.len());
    let labels = known
        .iter()
        .enumerate()
        .map(|(at, label)| label.unwrap_or_else(|| nearest(&middles, vectors.row(at))))
        .collect();
    Taxonomy { tasks, labels }
}

/// The group of each query; with its suite's name before it where two suites have one of that name.
fn group_names(suites: &[Suite]) -> Vec<Option<String>> {
    let mut owners: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, suite) in suites.iter().enumerate() {
        for name in suite.queries.iter().filter_map(|query| query.group.as_deref()) {
            let owners = owners.entry(name).or_default();
            if owners.last() != Some(&at) {
                owners.push(at);
            }
        }
    }
    let full = |suite: &Suite, name: &str| match owners.get(name) {
        Some(owners) if owners.len() > 1 => format!("{}/{name}", suite.name),
        _ => name.to_owned(),
    };
    let of_suite = |suite: &Suite| -> Vec<Option<String>> {
        suite
            .queries
            .iter()
            .map(|query| query.group.as_deref().map(|name| full(suite, name)))
            .collect()
    };
    suites.iter().flat_map(of_suite).collect()
}

/// The middle of each task's vectors, of length one.
pub fn middles(vectors: &Grid, labels: &[Option<usize>], tasks: usize) -> Grid {
    let mut sums = Grid::new(tasks, vectors.columns);
    for (at, label) in labels.iter().enumerate() {
        if let Some(label) = label {
            add_scaled(sums.row_mut(*label), 1.0, vectors.row(at));
        }
    }
    for task in 0..tasks {
        let row = sums.row_mut(task);
        let length = dot(row, row).sqrt();
        for value in row.iter_mut() {
            *value /= length.max(1e-12);
        }
    }
    sums
}

fn nearest(middles: &Grid, vector: &[f64]) -> usize {
    let near = (0..middles.rows()).map(|task| dot(middles.row(task), vector));
    near.enumerate()
        .fold((0, f64::NEG_INFINITY), |most, one| if one.1 > most.1 { one } else { most })
        .0
}

/// Spherical k-means. The first middles are those that lie farthest from the ones before: no dice.
fn clusters(vectors: &Grid) -> Taxonomy {
    let queries = vectors.rows();
    let count = (queries / CLUSTER_QUERIES).clamp(1, CLUSTERS);
    let mut labels = vec![Some(0); queries];
    let mut centres = middles(vectors, &labels, 1);
    while centres.rows() < count {
        let farthest = (0..queries).map(|at| {
            let row = vectors.row(at);
            (at, dot(centres.row(nearest(&centres, row)), row))
        });
        let farthest =
            farthest.fold((0, f64::INFINITY), |most, one| if one.1 < most.1 { one } else { most });
        centres.cells.extend_from_slice(vectors.row(farthest.0));
    }
    for _ in 0..ROUNDS {
        for (at, label) in labels.iter_mut().enumerate() {
            *label = Some(nearest(&centres, vectors.row(at)));
        }
        centres = middles(vectors, &labels, count);
    }
    let tasks = (1..=count).map(|at| format!("cluster-{at:02}")).collect();
    Taxonomy { tasks, labels: labels.into_iter().flatten().collect() }
}
