"use strict";
// Whatever comes from the data set (labels, names of files) is text: it is only ever set as textContent.

const $ = (id) => document.getElementById(id);
const sound = $("sound");
const random = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
const tab = sessionStorage.getItem("tab") || random(); // what this window takes back are its own verdicts
sessionStorage.setItem("tab", tab);
const SPEEDS = [1, 0.5, 2];
const READY = 12; // recordings that are kept in the page
const still = matchMedia("(prefers-reduced-motion: reduce)");

const desk = { mode: "review", item: null, at: -1, only: null, later: 0, entries: 0, history: [], busy: false, ended: false };
const audit = { rows: [], index: -1, given: [], more: 0 };
let shown = null; // the recording on the stage: {number, url, picture, shape} or {number, error}
let wanted = -1; // its number, as soon as it is asked for

function element(tag, properties = {}, children = []) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
const strong = (text, name = "") => element("strong", { textContent: text, className: name });
const kbd = (text) => element("kbd", { textContent: text });

function say(text) { $("live").textContent = text; }

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

// Asking the server

// An answer counts once it is here whole; until then the same is asked again, and the server does nothing twice.
async function ask(path, { body, read = "text" } = {}) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  for (;;) {
    let answer = null;
    let content = null;
    try {
      answer = await fetch(path, options);
      content = await (answer.ok ? answer[read]() : answer.text());
    } catch {
      answer = null;
      trouble("The server does not answer. What you decided last is kept in this page, and sent as soon as it is started again.");
    }
    if (answer && answer.status !== 429 && answer.status !== 503) {
      if (!$("trouble").dataset.kept) trouble("");
      if (answer.status === 401) trouble("The server was started anew: open the address that it has printed.");
      if (!answer.ok) throw new Error(refusal(content));
      return content;
    }
    await new Promise((again) => setTimeout(again, 700));
  }
}

function refusal(text) {
  try {
    return JSON.parse(text).error || text;
  } catch {
    return text;
  }
}

const json = (path, body) => ask(path, { body, read: "json" });

// Recordings: asked for once, and before they are needed

const ready = new Map();

function recording(number) {
  const made = ready.get(number) || load(number);
  ready.delete(number);
  ready.set(number, made);
  for (const [old, one] of ready) {
    if (ready.size <= READY) break;
    ready.delete(old);
    one.then(({ url, picture }) => setTimeout(() => [url, picture].forEach((u) => u && URL.revokeObjectURL(u)), 60000));
  }
  return made;
}

async function load(number) {
  const blob = async (kind) => URL.createObjectURL(await ask(`/api/${kind}/${number}`, { read: "blob" }));
  try {
    const shape = await json(`/api/shape/${number}`);
    return { number, shape, url: await blob("sound"), picture: await blob("picture") };
  } catch (error) {
    ready.delete(number);
    return { number, error: error.message };
  }
}

async function prepare(numbers) {
  for (const number of numbers) if (number !== null) await recording(number);
}

// The stage: spectrogram and waveform over one axis of seconds, and the sound in step with them

const SVG = "http://www.w3.org/2000/svg";

async function listen(number, what, { play = true, beside = "" } = {}) {
  wanted = number;
  $("hearing").hidden = !beside;
  $("hearing").textContent = beside;
  sound.pause();
  const got = await recording(number);
  if (wanted !== number) return; // something else was asked for meanwhile
  shown = got;
  $("stage").dataset.number = number;
  $("silence").hidden = !got.error;
  $("silence").textContent = got.error ? `No sound: ${got.error}` : "";
  if (got.error) {
    sound.removeAttribute("src");
    say(`No sound: ${got.error}`);
    return draw(null);
  }
  sound.src = got.url;
  sound.playbackRate = sound.defaultPlaybackRate = SPEEDS[speed];
  $("picture").alt = `Spectrogram of ${what}, ${got.shape.played_s.toFixed(2)} seconds`;
  draw(got);
  if (play) start();
}

function draw(got) {
  const marks = $("khz");
  marks.replaceChildren();
  for (const id of ["margin-before", "margin-after"]) $(id).style.width = "0";
  $("wave").firstElementChild.setAttribute("d", "");
  $("picture").hidden = !got;
  if (!got) return clock();
  const { played_s: all, begin_s: begin, end_s: end, wave, khz } = got.shape;
  const share = (s) => `${100 * Math.min(1, s / all)}%`;
  Object.assign($("picture").style, { left: share(begin), width: share(end - begin) });
  $("picture").src = got.picture;
  $("margin-before").style.width = share(begin);
  $("margin-after").style.width = share(Math.max(0, all - end));
  const points = wave.map(([low, high], i) => [i / wave.length, 1 - high, 1 - low]);
  const line = (at, side) => at.map((p) => `${p[0].toFixed(5)} ${p[side].toFixed(3)}`).join("L");
  $("wave").firstElementChild.setAttribute("d", `M${line(points, 1)}L1 1L${line(points.reverse(), 2)}Z`);
  const height = $("picture").parentElement.clientHeight;
  const mark = (text, x, y, anchor) => {
    const made = document.createElementNS(SVG, "text");
    for (const [name, value] of Object.entries({ x, y, "text-anchor": anchor })) made.setAttribute(name, value);
    made.textContent = text;
    marks.append(made);
  };
  for (const [text, place] of khz) mark(text, 28, place * height + 4, "end");
  mark("kHz", 28, height + 14, "end");
  const width = $("stage").clientWidth - 34;
  const bottom = $("stage").clientHeight - 8;
  const step = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60].find((s) => all / s <= width / 60) || 120;
  for (let i = 0; i * step <= all; i += 1) {
    const x = 34 + (width * i * step) / all;
    if (x < 34 + width - 8) mark(`${Number((i * step).toFixed(2))}${i ? "" : " s"}`, x, bottom, i ? "middle" : "start");
  }
  clock();
}

let speed = 0;

async function start() {
  try {
    await sound.play();
  } catch (error) {
    if (error.name === "NotAllowedError") say("Press Space to listen.");
  }
}

function playOrPause() {
  if (!sound.hasAttribute("src")) return;
  if (sound.paused) start();
  else sound.pause();
}

function seek(seconds) {
  if (shown && shown.shape) sound.currentTime = Math.max(0, Math.min(shown.shape.played_s - 0.01, seconds));
  clock();
}

function clock() {
  const all = shown && shown.shape ? shown.shape.played_s : 0;
  const now = Math.min(all, sound.currentTime || 0);
  $("cursor").style.left = all ? `${(100 * now) / all}%` : "0";
  const whole = shown && shown.shape && shown.shape.duration_s > all + 0.05;
  $("clock").textContent = all ? `${now.toFixed(1)} / ${all.toFixed(1)} s${whole ? ` of ${shown.shape.duration_s.toFixed(0)} s` : ""}` : "";
  $("stage").setAttribute("aria-valuemax", all.toFixed(1));
  $("stage").setAttribute("aria-valuenow", now.toFixed(1));
  $("stage").setAttribute("aria-valuetext", `${now.toFixed(1)} of ${all.toFixed(1)} seconds`);
}

function follow() {
  clock();
  if (!sound.paused && !still.matches) requestAnimationFrame(follow);
}

function playing() {
  $("play").firstElementChild.textContent = sound.paused ? "Play" : "Pause";
  follow();
}

// What is asked about the clip

const VERDICTS = {
  review: [
    ["keep", "K", () => ["Keep: it is ", desk.item.label], () => alone(() => decide("keep"))],
    ["relabel", "R", () => ["It is ", desk.item.predicted], () => alone(() => decide("relabel", desk.item.predicted))],
    ["typed", "T", () => ["Another class ..."], () => openTyping()],
    ["drop", "D", () => ["Drop: nothing of use"], () => alone(() => decide("drop"))],
    ["predominant", "M", () => ["There, but not foremost"], () => alone(() => decide("not predominant"))],
    ["uncertain", "L", () => ["Uncertain: later"], () => alone(() => decide("uncertain"))],
  ],
  audit: [
    ["right", "R", () => ["Right: it is ", current().label], () => alone(() => judge("right"))],
    ["wrong", "W", () => ["Wrong"], () => alone(() => judge("wrong"))],
    ["unsure", "Q", () => ["Unsure"], () => alone(() => judge("unsure"))],
  ],
};
const MADE = { keep: "kept", relabel: "relabelled", drop: "dropped", uncertain: "saved for later", "not predominant": "not predominant" };
const current = () => (desk.mode === "review" ? desk.item : audit.rows[audit.index]);

function showCard(item, { play = true } = {}) {
  const review = desk.mode === "review";
  $("end").hidden = true;
  $("card").hidden = false;
  const sure = (value) => element("span", { className: "soft", textContent: ` (${value})` });
  $("claim").replaceChildren("Is it ", strong(item.label), ...(review ? [sure(item.label_sure), "? The networks hear ", strong(item.predicted), sure(item.predicted_sure), "."] : ["?"]));
  const about = review ? [`${item.rank}.`, item.checked ? "checked by a person" : "not checked", item.right && `label right: ${item.right} probable`, item.judge, item.path] : [`${audit.index + 1} of ${audit.rows.length}`, item.path];
  $("about").textContent = about.filter(Boolean).join(" · ");
  const made = item.verdict || "";
  const word = made.split(" ")[0];
  $("verdicts").replaceChildren(...VERDICTS[desk.mode].map(([name, key, text, act]) => {
    const [first, label] = text();
    const words = element("span", {}, label === undefined ? [first] : [first, strong(label)]);
    const button = element("button", { className: name, onclick: act }, [words, kbd(key)]);
    const on = name === word || (name === "predominant" && word === "not");
    const other = word === "relabel" && made.slice(8) !== item.predicted;
    button.setAttribute("aria-pressed", on && !(name === "relabel" && other) ? "true" : name === "typed" && other ? "true" : "false");
    return button;
  }));
  $("made").textContent = made ? `Decided: ${made}` : "";
  $("examples").hidden = !review;
  if (review) showExamples(item);
  $("card").dataset.clip = review ? item.index : item.number;
  $("card").focus({ preventScroll: true });
  say(`${item.label}?${review ? ` The networks hear ${item.predicted}.` : ""}`);
  listen(item.number, item.clip, { play });
}

function showExamples(item) {
  const groups = [item.label, item.predicted].map((label, group) => {
    const title = element("p", { className: "soft" }, [element("span", { textContent: item.examples[group].length ? "Checked: " : "No checked clip of " }), strong(label)]);
    const buttons = item.examples[group].map((number, i) => {
      const key = String(2 * group + i + 1);
      const button = element("button", { onclick: () => example(Number(key)) }, ["Example ", kbd(key)]);
      button.dataset.example = key;
      return button;
    });
    return element("div", {}, [title, ...buttons]);
  });
  $("examples").replaceChildren(...groups);
  const self = element("button", { onclick: () => example(0) }, ["The clip ", kbd("0")]);
  self.dataset.example = "0";
  groups[0].append(self);
  mark("0");
}

function mark(key) {
  for (const button of document.querySelectorAll("[data-example]")) {
    button.setAttribute("aria-pressed", String(button.dataset.example === key));
  }
}

function example(key) {
  const item = current();
  if (!item || (desk.mode === "audit" && key)) return;
  if (key === 0) {
    mark("0");
    say("The clip itself");
    listen(item.number, item.clip);
    return;
  }
  const group = key > 2 ? 1 : 0;
  const number = item.examples[group][(key - 1) % 2];
  if (number === undefined) return;
  const label = group ? item.predicted : item.label;
  mark(String(key));
  say(`Example of ${label}`);
  listen(number, `an example of ${label}`, { beside: `Example of ${label}, checked` });
}

// One thing after another: a key that comes before the last one is done with was meant for a clip that nobody has heard.
async function alone(work) {
  if (desk.busy) return;
  desk.busy = true;
  try {
    await work();
  } catch (error) {
    trouble(`Not done: ${error.message}`);
    $("trouble").dataset.kept = "1";
    setTimeout(() => delete $("trouble").dataset.kept, 4000);
  } finally {
    desk.busy = false;
  }
}

// Review

function showProgress(progress) {
  const done = progress.total - progress.left;
  $("bar").max = progress.total || 1;
  $("bar").value = done;
  const later = progress.uncertain ? `, ${progress.uncertain} for later` : "";
  $("progress").textContent = `${done} of ${progress.total} decided${later}`;
  $("classes").replaceChildren(...progress.classes.map(([name, left, all]) => {
    const bar = element("progress", { max: all, value: all - left });
    bar.setAttribute("aria-hidden", "true");
    const count = element("span", { className: "soft", textContent: `${left} of ${all}` });
    const button = element("button", { onclick: () => alone(() => filter(name)) }, [element("span", { textContent: name }), count, bar]);
    button.setAttribute("aria-pressed", String(desk.only === name));
    return element("li", {}, [button]);
  }));
}

async function next({ afterVerdict = false, play = true } = {}) {
  const query = new URLSearchParams({ at: desk.at, later: desk.later, verdict: afterVerdict });
  if (desk.only !== null) query.set("only", desk.only);
  const got = await json(`/api/next?${query}`);
  desk.at = got.at;
  desk.entries = got.entries;
  desk.item = got.item;
  showProgress(got.progress);
  if (!got.item) return showEnd(got);
  desk.ended = false;
  showCard(got.item, { play });
  prepare([got.item.number, got.ahead, ...got.item.examples.flat()]);
}

async function decide(word, label = "") {
  const item = desk.item;
  if (!item || desk.mode !== "review") return;
  await json("/api/verdict", { index: item.index, word, label, again: item.again, tab, key: random() });
  desk.history = desk.history.filter((i) => i !== item.index).concat(item.index);
  say(`${item.label}: ${MADE[word]}${label && ` as ${label}`}`);
  await next({ afterVerdict: true });
}

async function show(index) {
  // The clip that is left for another one, undecided, is the next one again.
  if (desk.item && !desk.item.again && desk.item.index === desk.at) desk.at -= 1;
  desk.item = await json(`/api/item/${index}`);
  desk.ended = false;
  showCard(desk.item);
}

async function undo() {
  const { index } = await json("/api/undo", { tab, key: random() });
  if (index === null) return say("There is nothing to take back.");
  desk.history = desk.history.filter((i) => i !== index);
  await show(index);
  showProgress((await json("/api/start")).progress);
  say(`Taken back: ${desk.item.label}`);
}

async function back() {
  const place = desk.item ? desk.history.lastIndexOf(desk.item.index) : -1;
  const index = desk.history[(place < 0 ? desk.history.length : place) - 1];
  if (index === undefined) return say("There is no clip before this one.");
  await show(index);
}

async function filter(name) {
  desk.only = desk.only === name ? null : name;
  desk.at = -1;
  say(desk.only === null ? "All classes" : `Only ${name}`);
  await next();
}

function showEnd({ progress, agreement }) {
  sound.pause();
  desk.ended = true;
  $("card").hidden = true;
  const end = $("end");
  end.hidden = false;
  const parts = [];
  const line = (text) => parts.push(element("p", { textContent: text }));
  const later = progress.uncertain > 0 && !desk.later;
  end.firstElementChild.textContent = desk.only !== null ? `Nothing is left of ${desk.only}` : progress.left ? "The end" : "Every label is decided";
  const words = Object.entries(progress.words).filter(([, n]) => n).map(([word, n]) => `${n} ${MADE[word]}`);
  if (words.length) line(`${words.join(", ")}.`);
  if (agreement.heard) {
    line(`${agreement.heard} clips came twice, unannounced: ${agreement.same} you decided alike. So ${(100 * agreement.at_least).toFixed(0)} % at least of your verdicts you would give again (confidence ${(100 * agreement.confidence).toFixed(0)} %).`);
  } else if (words.length) {
    line("No clip came twice: how sure your verdicts are is not known.");
  }
  if (later) parts.push(element("button", { onclick: () => alone(goOn) }, ["Hear what you saved for later ", kbd("Enter")]));
  else if (desk.only !== null) parts.push(element("button", { onclick: () => alone(goOn) }, ["All classes ", kbd("Enter")]));
  if (words.length) line(`Train a run of another name with data.corrections=${desk.file}`);
  if (agreement.differ.length) line("Of those that you decided in two ways the first one holds, until you decide again:");
  for (const [index, first, second] of agreement.differ) {
    parts.push(element("button", { textContent: `First ${first}, then ${second}`, onclick: () => alone(() => show(index)) }));
  }
  end.lastElementChild.replaceChildren(...parts);
  end.focus({ preventScroll: true });
  say(end.firstElementChild.textContent);
}

async function goOn() {
  if (desk.mode === "audit") return audit.more ? openAudit(audit.rows.length + audit.more) : undefined;
  if (desk.only !== null) desk.only = null;
  else desk.later = desk.entries;
  desk.at = -1;
  await next();
}

// Typing a class

function openTyping() {
  if (!desk.item || desk.busy) return;
  $("typed").value = "";
  list();
  $("type").showModal();
  $("typed").focus();
}

function list() {
  const words = $("typed").value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  const found = desk.item.menu.filter(([name]) => words.every((word) => name.toLocaleLowerCase().includes(word)));
  $("found").replaceChildren(...found.map(([name, sure], i) => {
    const option = element("li", { id: `class-${i}`, onclick: () => take(name) }, [element("strong", { textContent: name }), element("span", { textContent: sure })]);
    option.setAttribute("role", "option");
    option.dataset.name = name;
    return option;
  }));
  choose(0);
}

function choose(i) {
  const options = [...$("found").children];
  const at = Math.max(0, Math.min(options.length - 1, i));
  options.forEach((option, j) => option.setAttribute("aria-selected", String(j === at)));
  if (!options.length) return $("typed").removeAttribute("aria-activedescendant");
  $("typed").setAttribute("aria-activedescendant", `class-${at}`);
  options[at].scrollIntoView({ block: "nearest" });
}

function take(name) {
  $("type").close();
  alone(() => decide("relabel", name));
}

function typingKey(event) {
  const options = [...$("found").children];
  const at = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
  if (event.key === "ArrowDown") choose(at + 1);
  else if (event.key === "ArrowUp") choose(at - 1);
  else if (event.key === "Enter" && options[at]) take(options[at].dataset.name);
  else return;
  event.preventDefault();
}

// Audit

async function openAudit(n = null) {
  showAudit(await json("/api/audit", { n }));
  desk.mode = "audit";
  modes();
  nextUnheard(-1);
}

function showAudit(answer) {
  audit.rows = answer.rows;
  audit.more = answer.more;
  const heard = answer.rows.filter((row) => row.verdict).length;
  $("bar").max = answer.rows.length;
  $("bar").value = heard;
  $("progress").textContent = `${heard} of ${answer.rows.length} heard`;
  const lines = answer.said.length ? answer.said : [`${answer.rows.length} of ${answer.accepted} accepted labels, drawn at random: are they right? ${answer.first - 1} right ones of ${answer.first - 1} show that 95 % at least of all are.`];
  $("said").replaceChildren(...lines.map((text) => element("p", { textContent: text })), element("p", { className: "soft", textContent: answer.file }));
}

function nextUnheard(after) {
  const order = audit.rows.map((_, i) => (i + after + 1) % audit.rows.length);
  const index = order.find((i) => !audit.rows[i].verdict);
  if (index === undefined) return auditEnd();
  showRow(index);
}

function showRow(index) {
  audit.index = index;
  desk.ended = false;
  showCard(audit.rows[index]);
  const following = audit.rows.find((row, i) => i > index && !row.verdict);
  prepare([audit.rows[index].number, following ? following.number : null]);
}

function auditEnd() {
  sound.pause();
  desk.ended = true;
  audit.index = -1;
  $("card").hidden = true;
  const end = $("end");
  end.hidden = false;
  end.firstElementChild.textContent = "All that were drawn are heard";
  const parts = [...$("said").querySelectorAll("p")].map((p) => element("p", { textContent: p.textContent }));
  if (audit.more) parts.push(element("button", { onclick: () => alone(goOn) }, [`Draw ${audit.more} more `, kbd("Enter")]));
  end.lastElementChild.replaceChildren(...parts);
  end.focus({ preventScroll: true });
  say(end.firstElementChild.textContent);
}

async function judge(verdict, index = audit.index) {
  if (index < 0) return;
  showAudit(await json("/api/audit/verdict", { index, verdict }));
  if (verdict) audit.given.push(index);
  if (verdict) nextUnheard(index);
  else showRow(index);
}

function modes() {
  const review = desk.mode === "review";
  $("to-review").setAttribute("aria-pressed", String(review));
  $("to-audit").setAttribute("aria-pressed", String(!review));
  $("classes").hidden = !review;
  $("said").hidden = review;
  $("side-title").textContent = review ? "Left of each class" : "What the audit says";
  if (!review) $("side").open = true;
}

async function openReview() {
  desk.mode = "review";
  modes();
  await next();
}

// Keys

const MOVES = {
  undo: () => (desk.mode === "review" ? undo() : audit.given.length ? judge("", audit.given.pop()) : say("There is nothing to take back.")),
  back: () => (desk.mode === "review" ? back() : audit.rows.length && showRow(((audit.index < 0 ? audit.rows.length : audit.index) + audit.rows.length - 1) % audit.rows.length)),
  skip: () => (desk.mode === "review" ? next() : nextUnheard(audit.index)),
};

function toggleLoop() {
  sound.loop = !sound.loop;
  $("loop").setAttribute("aria-pressed", String(sound.loop));
  say(sound.loop ? "Loop" : "No loop");
}

function nextSpeed() {
  speed = (speed + 1) % SPEEDS.length;
  sound.playbackRate = sound.defaultPlaybackRate = SPEEDS[speed];
  $("speed").querySelector("span").textContent = SPEEDS[speed];
  say(`Speed ${SPEEDS[speed]}`);
}

const step = () => Math.max(0.1, (shown && shown.shape ? shown.shape.played_s : 1) / 20);
const move = (name) => () => alone(MOVES[name]);
// Names of a key, what it does, in words and indeed; one without words stands with the one before it.
const KEYS = new Map([
  [" ", ["Space", "play, pause", playOrPause]],
  ["Enter", ["Enter", "play from the beginning; at the end, go on", () => (desk.ended ? alone(goOn) : (seek(0), start()))]],
  ["ArrowLeft", ["← →", "back and on by a twentieth", () => seek(sound.currentTime - step())]],
  ["ArrowRight", ["", "", () => seek(sound.currentTime + step())]],
  ["o", ["O", "loop", toggleLoop]],
  ["s", ["S", "speed 1, 0.5, 2", nextSpeed]],
  ["1", ["1 2", "checked examples of the label", () => example(1)]],
  ["2", ["", "", () => example(2)]],
  ["3", ["3 4", "checked examples of what the networks hear", () => example(3)]],
  ["4", ["", "", () => example(4)]],
  ["0", ["0", "the clip itself again", () => example(0)]],
  ["u", ["U", "take the last verdict back", move("undo")]],
  ["p", ["P", "the clip before", move("back")]],
  ["n", ["N", "skip: the next clip, without a verdict", move("skip")]],
  ["a", ["A", "audit, and back to the review", () => alone(() => (desk.mode === "review" ? openAudit() : openReview()))]],
  ["?", ["?", "these keys", () => $("help").showModal()]],
]);

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
  const known = (name) => KEYS.has(name) || VERDICTS[desk.mode].some(([, one]) => one.toLowerCase() === name);
  const typed = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const key = known(typed) ? typed : event.code.replace(/^(Key|Digit)/, "").toLowerCase(); // of other alphabets, by place
  const pressed = event.target.closest("button, summary");
  if (pressed && (key === "Enter" || key === " ")) return; // it is pressed
  const verdict = VERDICTS[desk.mode].find(([, name]) => name.toLowerCase() === key);
  if (!verdict && !KEYS.has(key)) return;
  event.preventDefault();
  if (event.repeat && !event.key.startsWith("Arrow")) return; // a key that is held down decides once
  if (verdict) {
    if (!$("card").hidden) verdict[3]();
  } else {
    KEYS.get(key)[2]();
  }
});

// The mouse, for who wants it

$("typed").addEventListener("input", list);
$("typed").addEventListener("keydown", typingKey);
$("play").onclick = playOrPause;
$("loop").onclick = toggleLoop;
$("speed").onclick = nextSpeed;
$("keys").onclick = () => $("help").showModal();
$("to-review").onclick = () => desk.mode === "review" || alone(openReview);
$("to-audit").onclick = () => desk.mode === "audit" || alone(() => openAudit());
for (const button of document.querySelectorAll("[data-do]")) button.onclick = () => alone(MOVES[button.dataset.do]);
$("stage").addEventListener("click", (event) => {
  const box = $("stage").querySelector(".time").getBoundingClientRect();
  if (!shown || !shown.shape) return;
  seek(((event.clientX - box.left) / box.width) * shown.shape.played_s);
  if (sound.paused) start();
});
for (const name of ["play", "pause", "ended", "timeupdate", "seeked", "loadedmetadata"]) sound.addEventListener(name, playing);
addEventListener("resize", () => shown && shown.shape && draw(shown));

const rows = [
  ...VERDICTS.review.map(([name, key]) => [key, { keep: "keep: the label is right", relabel: "relabel: it is what the networks hear", typed: "relabel: type which class it is", drop: "drop: it is none of the classes, or of no use", predominant: "not predominant: the label is there, but not foremost", uncertain: "uncertain: comes again at the end" }[name]]),
  ["R W Q", "in the audit: right, wrong, unsure"],
  ...[...KEYS.values()].filter(([key]) => key),
];
for (const [key, text] of rows) {
  $("help-keys").append(element("dt", {}, key.split(" ").flatMap((one) => [kbd(one), " "])), element("dd", { textContent: text }));
}

(async () => {
  const begin = await json("/api/start");
  $("run").textContent = begin.run;
  document.title = `Listening desk: ${begin.run}`;
  desk.history = begin.recent;
  desk.file = begin.file;
  if (matchMedia("(max-width: 860px)").matches) $("side").open = false;
  showProgress(begin.progress);
  if (begin.audit_first) await openAudit();
  if (desk.mode === "review") await next();
})().catch((error) => trouble(error.message));
