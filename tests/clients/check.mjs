// The frame of the Node.js client checks.
//
// A check is a function. All of them run; each failure is printed, and the process then exits with 1.
// `tests/it/clients.rs` starts the gateways and names them in the environment.

// What a healthy mock says, and what its tools are called with.
export const TEXT = "w0 w1 w2 w3 ";
export const ARGUMENTS = '{"path":"src/main.rs"}';
export const KEY = process.env.WEIR_KEY;
// One gateway per notice mode.
export const MODES = ["chunk", "event", "comment", "off"];
export const GATEWAYS = Object.fromEntries(MODES.map((mode) => [mode, process.env[`WEIR_${mode.toUpperCase()}`]]));
export const GATEWAY = GATEWAYS.chunk;
// Ways of an upstream to end a stream too early (names of models).
export const CUTS = ["cut", "cut-half", "reset", "clean-cut", "stall", "error-event"];

const checks = [];

/** Registers a check. */
export function check(name, action) {
  checks.push([name, action]);
}

/** Registers a check once per value. */
export function checkEach(name, values, action) {
  for (const value of values) check(`${name} [${value}]`, () => action(value));
}

/** Fails unless both are the same, read as JSON. */
export function equal(got, wanted) {
  const [left, right] = [JSON.stringify(got), JSON.stringify(wanted)];
  if (left !== right) throw new Error(`got ${left}, wanted ${right}`);
}

/** Runs the action, which must throw just this kind, and returns what it threw. */
export async function throws(kind, action) {
  let result;
  try {
    result = await action();
  } catch (error) {
    if (error instanceof kind) return error;
    throw new Error(`wanted ${kind.name}`, { cause: error });
  }
  throw new Error(`no ${kind.name}, but ${JSON.stringify(result)}`);
}

/** All that an iterator yields. */
export async function collect(iterable) {
  const list = [];
  for await (const item of iterable) list.push(item);
  return list;
}

/** Runs everything and leaves. */
export async function run() {
  const start = Date.now();
  let failed = 0;
  for (const [name, action] of checks) {
    try {
      await action();
    } catch (error) {
      failed += 1;
      console.log(`FAIL ${name}`);
      console.log(error);
    }
  }
  console.log(`${checks.length} checks, ${failed} failed, ${(Date.now() - start) / 1000} s`);
  process.exit(failed > 0 ? 1 : 0);
}
