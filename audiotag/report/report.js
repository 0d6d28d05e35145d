"use strict";

// Commands that are copied

for (const button of document.querySelectorAll(".command button")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    const done = await copied(code);
    button.textContent = done ? "Copied" : "Ctrl+C copies";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

/** Copy an element's text; a browser that refuses leaves it selected. */
async function copied(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }
}

// Edges beyond which there is more

for (const box of document.querySelectorAll(".scroll")) {
  const inner = box.firstElementChild;
  const look = () => {
    box.classList.toggle("before", inner.scrollLeft > 1);
    box.classList.toggle("after", inner.scrollLeft + inner.clientWidth < inner.scrollWidth - 1);
  };
  inner.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(look).observe(inner);
}

// Sounds: one at a time, with a line that runs through the picture

for (const sound of document.querySelectorAll("audio")) {
  const picture = sound.closest("article").querySelector(".spectrogram");
  const line = picture.querySelector("line");
  const played = Number(picture.dataset.seconds);
  const move = () => {
    const at = `${100 * Math.min(1, sound.currentTime / played)}%`;
    line.setAttribute("x1", at);
    line.setAttribute("x2", at);
    line.removeAttribute("hidden");
  };
  let frame = 0;
  const follow = () => { move(); frame = requestAnimationFrame(follow); };
  sound.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== sound) other.pause();
    cancelAnimationFrame(frame);
    follow();
  });
  for (const end of ["pause", "ended"]) sound.addEventListener(end, () => cancelAnimationFrame(frame));
  sound.addEventListener("seeked", move);
  picture.addEventListener("click", (event) => {
    const box = picture.querySelector("svg").getBoundingClientRect();
    sound.currentTime = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * played;
    sound.play();
  });
}

// Decisions

const data = JSON.parse(document.getElementById("review-data")?.textContent ?? "null");
if (data) review(data);

function review({ key, columns, rows, decisions: ofFile, classes, menus }) {
  const column = (name) => columns.indexOf(name);
  const cards = [...document.querySelectorAll("article[data-row]")];
  const clipOf = (card) => rows[Number(card.dataset.row)][column("clip_id")];
  const labelOf = (card) => rows[Number(card.dataset.row)][column("label")];
  let made = {}; // by clip: the decision here, and what the file said when it was made
  let kept = true; // whether the browser keeps them
  let downloaded = true;
  let current = null;

  const decision = (clip) => {
    const own = Object.hasOwn(made, clip) ? made[clip] : null;
    const file = Object.hasOwn(ofFile, clip) ? ofFile[clip] : "";
    return own?.file === file ? String(own.decision) : file; // a file that was changed since holds
  };
  const parts = (text) => {
    const [word, ...rest] = text.trim().split(" ");
    return [word.toLowerCase(), rest.join(" ").trim()];
  };

  function load() {
    try {
      const stored = JSON.parse(localStorage.getItem(key) ?? "{}");
      made = stored !== null && typeof stored === "object" ? stored : {};
    } catch (error) {
      if (!(error instanceof SyntaxError)) kept = false;
    }
  }

  /** Let the browser keep the decisions; some refuse that to pages from a disk. */

  function store() {
    try {
      localStorage.setItem(key, JSON.stringify(made));
      kept = true;
    } catch {
      kept = false;
    }
  }

  function decide(card, text) {
    const clip = clipOf(card);
    made[clip] = { decision: text, file: Object.hasOwn(ofFile, clip) ? ofFile[clip] : "" };
    downloaded = false;
    store();
    show(card);
    progress();
  }

  function show(card) {
    const text = decision(clipOf(card));
    const [word, label] = parts(text);
    card.classList.remove("keep", "relabel", "drop");
    if (["keep", "relabel", "drop"].includes(word)) card.classList.add(word);
    for (const button of card.querySelectorAll("[data-do]")) {
      button.setAttribute("aria-pressed", String(button.dataset.do === word));
    }
    const menu = card.querySelector("select");
    if (word === "relabel" && [...menu.options].some((option) => option.value === label)) menu.value = label;
    const said = { "": "not decided", keep: "keep: the label is right", drop: "drop: not to be used" };
    card.querySelector(".made").textContent = word === "relabel" ? `relabel: it is ${label}` : said[word] ?? text;
  }

  function progress() {
    const n = cards.filter((card) => decision(clipOf(card)) !== "").length;
    document.getElementById("progress").textContent = `${n} of ${cards.length} decided`;
    document.getElementById("kept").textContent = kept ? "kept in this browser" : "";
    document.getElementById("refused").hidden = kept;
  }

  function csv() {
    const cell = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const clip = column("clip_id");
    const lines = rows.map((row) => row.map((text, i) => (i === column("decision") ? decision(row[clip]) : text)));
    return [columns, ...lines].map((line) => line.map(cell).join(",")).join("\n") + "\n";
  }

  function choose(card, { scroll = true } = {}) {
    if (current && current !== card) {
      current.classList.remove("current");
      current.querySelector("audio")?.pause();
    }
    current = card;
    card.classList.add("current");
    for (let box = card.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
    card.focus({ preventScroll: true });
    if (scroll) card.scrollIntoView({ block: "nearest" });
  }

  const isSeen = (card) => {
    const box = card.getBoundingClientRect();
    return box.bottom > 0 && box.top < innerHeight && box.height > 0;
  };

  function step(by) {
    const at = cards.indexOf(current) + by;
    if (at >= 0 && at < cards.length) choose(cards[at]);
  }

  /** Take a decision, or take it back where it stands already; by key the next clip is then the current one. */
  function toggle(card, word, byKey) {
    if (word === "relabel") {
      const menu = card.querySelector("select");
      decide(card, `relabel ${menu.value}`);
      menu.focus();
    } else if (parts(decision(clipOf(card)))[0] === word) {
      decide(card, "");
    } else {
      decide(card, word);
      if (byKey) step(1);
    }
  }

  function play(card) {
    const sound = card.querySelector("audio");
    if (sound) sound.paused ? sound.play() : sound.pause();
  }

  const help = document.getElementById("help");
  const actions = {
    k: () => toggle(current, "keep", true),
    r: () => toggle(current, "relabel", true),
    d: () => toggle(current, "drop", true),
    u: () => decide(current, ""),
    " ": () => play(current),
    n: () => step(1),
    p: () => step(-1),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || help.open) return;
    const target = event.target instanceof Element ? event.target : document.body;
    if (target.closest("input, textarea, [contenteditable]")) return;
    if (target.closest("select")) {
      if (event.key === "Enter" || event.key === "Escape") {
        event.preventDefault();
        choose(target.closest("article"));
        if (event.key === "Enter") step(1);
      }
      return;
    }
    if (event.key === "?") {
      help.showModal();
      return;
    }
    const wanted = event.key.toLowerCase();
    if (!Object.hasOwn(actions, wanted)) return;
    if (wanted === " " && (!current || target.closest("button, a, summary, audio, [tabindex]:not(article)"))) return;
    event.preventDefault();
    if (event.repeat) return;
    if (!current || !isSeen(current)) { // nothing is decided about a clip that is not seen
      choose(current ?? cards.find(isSeen) ?? cards[0]);
    } else {
      actions[wanted]();
    }
  });

  load();
  store();
  cards.forEach((card, i) => {
    const menu = card.querySelector("select");
    const label = labelOf(card);
    for (const [index, share] of menus[i]) {
      const name = classes[index];
      if (name === label) continue; // that is its label already
      const percent = share >= 995 ? "> 99 %" : share >= 10 ? `${Math.round(share / 10)} %` : "< 1 %";
      menu.add(new Option(`${name} (${percent})`, name));
    }
    menu.addEventListener("change", () => decide(card, `relabel ${menu.value}`));
    card.querySelector(".judge").hidden = false;
    for (const button of card.querySelectorAll("[data-do]")) {
      button.addEventListener("click", (event) => {
        choose(card, { scroll: false });
        toggle(card, button.dataset.do, false);
        if (event.detail === 0 && button.dataset.do !== "relabel") button.focus(); // it was pressed by a key
      });
    }
    card.addEventListener("focusin", (event) => {
      if (current !== card) {
        const target = event.target;
        choose(card, { scroll: false });
        if (target !== card) target.focus();
      }
    });
    card.addEventListener("click", (event) => {
      if (!event.target.closest("button, select, audio, a")) choose(card, { scroll: false });
    });
    show(card);
  });

  document.getElementById("download").addEventListener("click", () => {
    const url = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    const link = Object.assign(document.createElement("a"), { href: url, download: "review.csv" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    downloaded = true;
  });
  document.getElementById("keys").addEventListener("click", () => help.showModal());
  document.getElementById("bar").hidden = false;
  addEventListener("storage", (event) => {
    if (event.key !== key) return;
    load();
    cards.forEach(show);
    progress();
  });
  addEventListener("beforeunload", (event) => {
    if (!kept && !downloaded) event.preventDefault(); // they would be lost
  });
  progress();
}
