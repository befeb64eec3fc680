//! Labelled queries: what was asked, and what each model made of it. How they are written is `lines`.

/// What one model made of one query.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// 0 to 1.
    pub quality: Option<f64>,
    /// What it cost, in nano-dollars.
    pub cost: Option<i64>,
    /// Tokens of its answer.
    pub tokens: Option<u32>,
}

/// One query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// What was asked.
    pub text: String,
    /// The task, subject or source that it belongs to, if that is known.
    pub group: Option<String>,
    /// How many tools were offered.
    pub tools: u32,
    /// Bytes of the text and of the tools: what input costs grow with.
    pub bytes: usize,
    /// One for each model of the suite.
    pub outcomes: Vec<Outcome>,
}

/// Queries that were all put to the same models.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suite {
    /// What it is called: its file's name.
    pub name: String,
    /// Where it is from, if it says so.
    pub source: Option<String>,
    /// Under which licence, if it says so.
    pub licence: Option<String>,
    /// SHA-256 of what was read, in hex.
    pub digest: String,
    /// Names of the models.
    pub models: Vec<String>,
    /// All queries that have a text.
    pub queries: Vec<Query>,
    /// Queries that were left out as they have no text: empty, or an image only.
    pub without_text: usize,
}

impl Suite {
    /// Mean quality of each model; 0 for one that has none.
    pub fn means(&self) -> Vec<f64> {
        (0..self.models.len()).map(|model| self.mean(model, |outcome| outcome.quality)).collect()
    }

    /// Mean cost of each model in nano-dollars; 0 for one that has none.
    pub fn mean_costs(&self) -> Vec<f64> {
        (0..self.models.len())
            .map(|model| self.mean(model, |outcome| outcome.cost.map(|cost| cost as f64)))
            .collect()
    }

    fn mean(&self, model: usize, of: impl Fn(&Outcome) -> Option<f64>) -> f64 {
        let known = self.queries.iter().filter_map(|query| of(query.outcomes.get(model)?));
        let (sum, count) = known.fold((0.0, 0.0), |(sum, count), one| (sum + one, count + 1.0));
        if count > 0.0 { sum / count } else { 0.0 }
    }
}
