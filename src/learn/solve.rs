//! Small dense matrices: products, Cholesky, and the eigenvectors of a symmetric one. No pivoting, no blocks: the
//! largest here has some 170 rows, and every sum has one fixed order.

/// A matrix, row after row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grid {
    /// Its width.
    pub columns: usize,
    /// Its values.
    pub cells: Vec<f64>,
}

impl Grid {
    /// All zero.
    pub fn new(rows: usize, columns: usize) -> Self {
        Self { columns, cells: vec![0.0; rows * columns] }
    }

    /// Its height.
    pub fn rows(&self) -> usize {
        self.cells.len() / self.columns.max(1)
    }

    /// One row.
    pub fn row(&self, at: usize) -> &[f64] {
        &self.cells[at * self.columns..(at + 1) * self.columns]
    }

    /// One row, to change.
    pub fn row_mut(&mut self, at: usize) -> &mut [f64] {
        &mut self.cells[at * self.columns..(at + 1) * self.columns]
    }

    /// `weights` of each row of `inputs`, summed: the row vector `inputs` times this matrix.
    pub fn apply(&self, inputs: &[f64], sums: &mut [f64]) {
        sums.fill(0.0);
        for (input, row) in inputs.iter().zip(self.cells.chunks_exact(self.columns.max(1))) {
            add_scaled(sums, *input, row);
        }
    }
}

/// Adds `factor` times `row`.
pub fn add_scaled(sums: &mut [f64], factor: f64, row: &[f64]) {
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum += factor * value;
    }
}

/// The inner product.
pub fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

/// The sum of `row` by `row` transposed over `rows` of `of`.
pub fn gram(of: &Grid, rows: &[usize]) -> Grid {
    let mut sums = Grid::new(of.columns, of.columns);
    for &at in rows {
        let row = of.row(at);
        for (place, value) in row.iter().enumerate() {
            add_scaled(&mut sums.row_mut(place)[..=place], *value, &row[..=place]);
        }
    }
    for low in 0..of.columns {
        for high in low + 1..of.columns {
            sums.cells[low * of.columns + high] = sums.cells[high * of.columns + low];
        }
    }
    sums
}

/// A positive definite matrix as the product of a lower triangle and its mirror.
#[derive(Clone, Debug)]
pub struct Cholesky(Grid);

impl Cholesky {
    /// Of `matrix` with `ridge` added on its diagonal; `ridge` must be positive when the matrix is singular, and a
    /// diagonal that still vanishes is held off zero.
    pub fn new(matrix: &Grid, ridge: f64) -> Self {
        let size = matrix.columns;
        let mut lower = Grid::new(size, size);
        for at in 0..size {
            for left in 0..=at {
                let inner = dot(&lower.row(at)[..left], &lower.row(left)[..left]);
                let rest = matrix.cells[at * size + left] - inner;
                lower.cells[at * size + left] = if at == left {
                    (rest + ridge).max(1e-12).sqrt()
                } else {
                    rest / lower.cells[left * size + left]
                };
            }
        }
        Self(lower)
    }

    /// Solves for each column of `right`, in place.
    pub fn solve(&self, right: &mut Grid) {
        let size = self.0.columns;
        let wide = right.columns;
        for at in 0..size {
            let (above, below) = right.cells.split_at_mut(at * wide);
            let row = &mut below[..wide];
            for left in 0..at {
                add_scaled(
                    row,
                    -self.0.cells[at * size + left],
                    &above[left * wide..(left + 1) * wide],
                );
            }
            let over = 1.0 / self.0.cells[at * size + at];
            for value in row.iter_mut() {
                *value *= over;
            }
        }
        for at in (0..size).rev() {
            let (above, below) = right.cells.split_at_mut((at + 1) * wide);
            let row = &mut above[at * wide..];
            for under in at + 1..size {
                let from = (under - at - 1) * wide;
                add_scaled(row, -self.0.cells[under * size + at], &below[from..from + wide]);
            }
            let over = 1.0 / self.0.cells[at * size + at];
            for value in row.iter_mut() {
                *value *= over;
            }
        }
    }
}

/// Rounds of Jacobi's method; it squares its error in each, and ten are enough for doubles.
const JACOBI_ROUNDS: usize = 24;

/// The `most` eigenvectors of a symmetric matrix with the largest eigenvalues, one a row.
pub fn leading(matrix: &Grid, most: usize) -> Grid {
    let size = matrix.columns;
    let mut left = matrix.clone();
    let mut vectors = Grid::new(size, size);
    for at in 0..size {
        vectors.cells[at * size + at] = 1.0;
    }
    for _ in 0..JACOBI_ROUNDS {
        for one in 0..size {
            for other in one + 1..size {
                rotate(&mut left, &mut vectors, (one, other));
            }
        }
    }
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|one, other| {
        left.cells[other * size + other]
            .total_cmp(&left.cells[one * size + one])
            .then(one.cmp(other))
    });
    order.truncate(most);
    let cells = order.iter().flat_map(|at| vectors.row(*at).to_vec()).collect();
    Grid { columns: size, cells }
}

/// One rotation of Jacobi's method: what lies between the two directions becomes zero.
fn rotate(left: &mut Grid, vectors: &mut Grid, (one, other): (usize, usize)) {
    let size = left.columns;
    let between = left.cells[one * size + other];
    if between.abs() < 1e-14 {
        return;
    }
    let spread = left.cells[other * size + other] - left.cells[one * size + one];
    let half = spread / (2.0 * between);
    let tangent = half.signum() / (half.abs() + (half * half + 1.0).sqrt());
    let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
    let sinus = tangent * cosine;
    for at in 0..size {
        let (a, b) = (left.cells[at * size + one], left.cells[at * size + other]);
        left.cells[at * size + one] = cosine * a - sinus * b;
        left.cells[at * size + other] = sinus * a + cosine * b;
    }
    for grid in [left, vectors] {
        for at in 0..size {
            let (a, b) = (grid.cells[one * size + at], grid.cells[other * size + at]);
            grid.cells[one * size + at] = cosine * a - sinus * b;
            grid.cells[other * size + at] = sinus * a + cosine * b;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-9
    }

    #[test]
    fn solves_what_it_was_given() {
        let matrix = Grid { columns: 3, cells: vec![4.0, 1.0, 0.5, 1.0, 3.0, 0.2, 0.5, 0.2, 2.0] };
        let wanted = Grid { columns: 2, cells: vec![1.0, -1.0, 2.0, 0.5, 3.0, 0.0] };
        let mut right = Grid::new(3, 2);
        for at in 0..3 {
            let mut sums = vec![0.0; 2];
            wanted.apply(matrix.row(at), &mut sums);
            right.row_mut(at).copy_from_slice(&sums);
        }
        Cholesky::new(&matrix, 0.0).solve(&mut right);
        assert!(right.cells.iter().zip(&wanted.cells).all(|(one, other)| near(*one, *other)));
    }

    #[test]
    fn finds_the_leading_direction() {
        // Twice the outer product of (0.6, 0.8), and a little of its normal.
        let cells = vec![
            2.0 * 0.36 + 0.1 * 0.64,
            2.0 * 0.48 - 0.1 * 0.48,
            2.0 * 0.48 - 0.1 * 0.48,
            2.0 * 0.64 + 0.1 * 0.36,
        ];
        let first = leading(&Grid { columns: 2, cells }, 1);
        assert!(near(first.cells[0].abs(), 0.6) && near(first.cells[1].abs(), 0.8));
    }

    #[test]
    fn sums_outer_products() {
        let rows = Grid { columns: 2, cells: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        assert_eq!(gram(&rows, &[0, 2]).cells, vec![26.0, 32.0, 32.0, 40.0]);
    }
}
