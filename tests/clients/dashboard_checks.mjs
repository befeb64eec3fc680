// The dashboard in a real Chromium: what a person sees and can do, at two widths, light and dark, by mouse and by
// keyboard; and that the page breaks neither its own policy nor the console's silence.
//
// `tests/it/dashboard.rs` starts the gateway. Screenshots of the last state go to WEIR_SCREENSHOTS, if it is set.
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import puppeteer from "puppeteer-core";
import { KEY, check, equal, run } from "./check.mjs";

const DATA = process.env.WEIR_DATA;
const ADMIN = process.env.WEIR_ADMIN;
const ADMIN_KEY = process.env.WEIR_ADMIN_KEY;
const SHOTS = process.env.WEIR_SCREENSHOTS;
const WAIT_MS = 20_000;
const CHROMIUM = process.env.CHROMIUM || ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);

if (!CHROMIUM) {
  console.log("no Chromium is installed; install Debian's package: apt-get install chromium");
  process.exit(1);
}
if (SHOTS) mkdirSync(SHOTS, { recursive: true });
const profile = mkdtempSync(join(tmpdir(), "weir-chromium-"));
const browser = await puppeteer.launch({
  executablePath: CHROMIUM,
  userDataDir: profile,
  // As root, and in containers, Chromium has no sandbox of its own; the pages are ours.
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
});
process.on("exit", () => {
  browser.process()?.kill();
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
});

/** A page of its own; everything that it complains about is in `page.complaints`. */
async function open({ width = 1280, height = 900, scheme = "light", motion = "reduce" } = {}) {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  page.complaints = [];
  page.on("console", (said) => {
    if (["error", "warn"].includes(said.type())) page.complaints.push(`${said.type()}: ${said.text()}`);
  });
  page.on("pageerror", (error) => page.complaints.push(`error: ${error.message}`));
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol !== "data:" && origin !== ADMIN) page.complaints.push(`asks elsewhere: ${request.url()}`);
  });
  await page.evaluateOnNewDocument(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
  });
  await page.setViewport({ width, height });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }, { name: "prefers-reduced-motion", value: motion }]);
  await page.goto(`${ADMIN}/ui`);
  return page;
}

async function enter(page, key = ADMIN_KEY) {
  await page.waitForSelector("#key", { visible: true });
  await page.type("#key", key);
  await page.keyboard.press("Enter");
}

async function opened(options) {
  const page = await open(options);
  await enter(page);
  await page.waitForFunction(() => document.getElementById("state").dataset.state === "live");
  return page;
}

/** Nobody complained, and nothing was refused. */
async function done(page) {
  equal(page.complaints, []);
  equal(await page.evaluate(() => window.violations), []);
  await page.browserContext().close();
}

async function ask(model, more = {}) {
  const body = JSON.stringify({ model, messages: [{ role: "user", content: "What is a weir?" }] });
  const headers = { authorization: `Bearer ${KEY}`, "content-type": "application/json", ...more };
  const answer = await fetch(`${DATA}/v1/chat/completions`, { method: "POST", headers, body });
  await answer.text();
  return answer.status;
}

async function admin(path, method = "GET") {
  const answer = await fetch(`${ADMIN}${path}`, { method, headers: { authorization: `Bearer ${ADMIN_KEY}` } });
  return answer.json();
}

const text = (page, selector) => page.$eval(selector, (node) => node.textContent);
const card = (page, name) => text(page, `[data-card="${name}"] dd`);
const rows = (page) => page.$$eval("#recent tr", (all) => all.length);
const until = (page, condition, ...given) => page.waitForFunction(condition, { polling: 50 }, ...given);

async function shoot(page, name) {
  if (SHOTS) await page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });
}

check("before the first request every panel says that it is empty", async () => {
  const page = await opened();
  equal(await card(page, "requests"), "0");
  for (const panel of ["models", "tasks", "flow", "guards", "pins"]) {
    equal(await page.$eval(`#${panel} .empty`, (node) => node.textContent.length > 5), true);
  }
  equal(await page.$eval("#recent-empty", (node) => node.checkVisibility()), true);
  await shoot(page, "empty");
  await done(page);
});

check("without a key there is no number, and a wrong one is told so", async () => {
  const page = await open();
  equal(await page.$eval("#board", (node) => node.hidden), true);
  for (const [key, words] of [["wrong-key", "not one of this gateway"], [KEY, "needs an admin key"]]) {
    await enter(page, key);
    await until(page, (wanted) => document.getElementById("key-error").textContent.includes(wanted), words);
  }
  equal(await page.evaluate(() => sessionStorage.length), 0);
  await shoot(page, "wrong-key");
  // The refusals themselves are all that the console may hold.
  page.complaints = page.complaints.filter((said) => !/status of 40[13]/.test(said));
  await enter(page);
  await page.waitForSelector("#board", { visible: true });
  await done(page);
});

check("numbers appear after traffic, by themselves", async () => {
  const page = await opened();
  equal(await ask("plain"), 200);
  equal(await ask("switch"), 200);
  equal(await ask("nothing-like-this"), 404);
  equal(await ask("plain", { "x-agent-id": "builder" }), 200);
  await until(page, () => document.querySelector('[data-card="requests"] dd').textContent === "4");
  equal(await rows(page), 4);
  equal(await card(page, "success"), "75.0 %");
  equal(await card(page, "escalation"), "25.0 %");
  equal((await card(page, "spend")).startsWith("$0.0"), true);
  equal(await text(page, "#models .name"), "plain");
  equal((await page.$$eval("#flow .node", (all) => all.map((node) => node.textContent))), ["switch", "plain"]);
  equal(await text(page, "#reasons li"), "4291");
  equal((await text(page, "#recent .model s")).trim(), "switch");
  equal(await page.$$eval(".chart canvas", (all) => all.length), 3);
  await done(page);
});

check("the key stays in the tab, and is gone when it is forgotten", async () => {
  const page = await opened();
  await page.reload();
  await until(page, () => document.getElementById("state").dataset.state === "live");
  await page.click("#leave");
  await page.waitForSelector("#key", { visible: true });
  equal(await page.evaluate(() => [sessionStorage.length, localStorage.length, document.cookie]), [0, 0, ""]);
  await done(page);
});

check("pause freezes the table and nothing else", async () => {
  const page = await opened();
  await until(page, () => document.querySelectorAll("#recent tr").length === 4);
  await page.click("#pause");
  equal(await page.$eval("#pause", (node) => node.getAttribute("aria-pressed")), "true");
  await ask("plain");
  await ask("plain");
  await until(page, () => document.querySelector('[data-card="requests"] dd').textContent === "6");
  await until(page, () => document.getElementById("pause").textContent === "Resume (2 new)");
  equal(await rows(page), 4);
  await page.click("#pause");
  await until(page, () => document.querySelectorAll("#recent tr").length === 6);
  await done(page);
});

check("a range can be chosen", async () => {
  const page = await opened();
  await page.click('[data-range="1h"]');
  await until(page, () => document.getElementById("state").dataset.state === "live");
  equal(await page.$eval('[data-range="1h"]', (node) => node.getAttribute("aria-pressed")), "true");
  await until(page, () => document.querySelectorAll("#recent tr").length === 6);
  equal(await rows(page), 6);
  await done(page);
});

check("budgets are a tree; freezing asks first, and holds", async () => {
  const page = await opened();
  await page.waitForSelector('[data-account="builder"] .freeze');
  equal(await page.$$eval("#budgets li", (all) => all.map((node) => node.dataset.account)), ["fleet", "builder", "default"]);
  equal(await page.$eval('[data-account="builder"]', (node) => node.textContent.includes("of $5.00")), true);
  const button = '[data-account="builder"] .freeze';
  await page.click(button);
  await page.waitForSelector("#confirm[open]");
  equal(await text(page, "#confirm-title"), "Freeze builder?");
  await shoot(page, "confirm");
  await page.click("#confirm-no");
  equal((await admin("/api/spend/builder")).frozen, false);
  await page.click(button);
  await page.click("#confirm-yes");
  await until(page, (one) => document.querySelector(one).textContent === "Thaw", button);
  equal((await admin("/api/spend/builder")).frozen, true);
  equal(await ask("plain", { "x-agent-id": "builder" }), 402);
  await page.click(button);
  await page.click("#confirm-yes");
  await until(page, (one) => document.querySelector(one).textContent === "Freeze", button);
  equal((await admin("/api/spend/builder")).frozen, false);
  await done(page);
});

check("everything can be reached and used by keyboard", async () => {
  const page = await open();
  await page.waitForSelector("#key", { visible: true });
  equal(await page.evaluate(() => document.activeElement.id), "key");
  await page.keyboard.type(ADMIN_KEY);
  await page.keyboard.press("Enter");
  await page.waitForSelector('[data-account="builder"] .freeze');
  await page.waitForSelector("#recent tr");
  const tab = async () => {
    await page.keyboard.press("Tab");
    return page.evaluate(() => {
      const node = document.activeElement;
      const name = node.id || node.dataset.range || node.getAttribute("aria-label") || node.tagName;
      return [name, getComputedStyle(node).outlineStyle !== "none"];
    });
  };
  const missing = new Set(["200", "1h", "6h", "24h", "all", "leave", "Freeze fleet", "Freeze builder", "pause", "TR"]);
  // Behind the last one comes the first again.
  for (let step = 0; step < 60 && missing.size > 0; step += 1) {
    const [name, ring] = await tab();
    if (missing.delete(name)) equal([name, ring], [name, true]);
  }
  equal([...missing], []);
  for (let name = ""; name !== "TR";) [name] = await tab();
  // The row in focus explains itself, the arrows go on to the next, Escape hides what it says.
  const first = await page.evaluate(() => document.activeElement.dataset.seq);
  equal(await page.$eval("#tip", (tip) => !tip.hidden && tip.textContent.includes("request ")), true);
  await page.keyboard.press("ArrowDown");
  equal(Number(first) - Number(await page.evaluate(() => document.activeElement.dataset.seq)), 1);
  await page.keyboard.press("Escape");
  equal(await page.$eval("#tip", (tip) => tip.hidden), true);
  await done(page);
});

check("the mouse sees names and reasons", async () => {
  const page = await opened();
  await page.waitForSelector("#recent .why");
  await page.$eval("#recent", (body) => body.scrollIntoView());
  await page.hover("#recent .why");
  await page.waitForSelector("#tip", { visible: true });
  equal((await text(page, "#tip")).includes("chosen by"), true);
  await page.hover("#recent-title");
  await page.waitForSelector("#tip", { hidden: true });
  await done(page);
});

for (const scheme of ["light", "dark"]) {
  for (const width of [1280, 400]) {
    check(`nothing lies outside of the page at ${width} pixels, ${scheme}`, async () => {
      const page = await opened({ width, height: 860, scheme });
      await page.waitForSelector("#recent tr");
      await page.waitForSelector("#providers li .dot");
      equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true);
      const [back, front] = await page.evaluate(() => {
        const style = getComputedStyle(document.body);
        const light = (color) => color.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 765;
        return [light(style.backgroundColor), light(style.color)];
      });
      equal(scheme === "dark" ? back < 0.2 && front > 0.8 : back > 0.8 && front < 0.2, true);
      await shoot(page, `board-${width}-${scheme}`);
      await done(page);
    });
  }
}

check("rows slide in, unless motion is unwelcome", async () => {
  for (const [motion, animated] of [["no-preference", "slide"], ["reduce", "none"]]) {
    const page = await opened({ motion });
    await page.waitForSelector("#recent tr");
    await ask("plain");
    const name = await page.waitForFunction(() => {
      const row = document.querySelector("#recent tr.new td");
      return row && getComputedStyle(row).animationName;
    });
    equal(await name.jsonValue(), animated);
    await done(page);
  }
});

check("a lost connection is said, and comes back by itself", async () => {
  const page = await opened();
  const numbers = await card(page, "requests");
  await page.setOfflineMode(true);
  // The stream that runs is cut as well.
  await page.evaluate(() => state.stream && stop());
  await page.evaluate(() => { follow(); });
  await page.waitForSelector("#trouble", { visible: true });
  equal((await text(page, "#state")).startsWith("Retry"), true);
  equal(await card(page, "requests"), numbers);
  await page.setOfflineMode(false);
  await until(page, () => document.getElementById("state").dataset.state === "live");
  equal(await page.$eval("#trouble", (node) => node.hidden), true);
  page.complaints = page.complaints.filter((said) => !said.includes("ERR_INTERNET_DISCONNECTED"));
  await done(page);
});

check("an empty log empties the page", async () => {
  const page = await opened();
  await page.waitForSelector("#recent tr");
  equal((await admin("/api/log/clear", "POST")).ok, true);
  await until(page, () => document.querySelector('[data-card="requests"] dd').textContent === "0" && !document.querySelector("#recent tr"));
  await done(page);
});

await run();
