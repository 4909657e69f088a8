// Makes the cards of clips as the user scrolls, and controls the dialog that shows the sheets.
(() => {
  const FIELDS = ["id", "split", "label", "path", "rate", "seconds", "confidence", "smallest", "jump", "problem",
    "note", "sheet"];
  const AT_ONCE = 60;
  const FALLING = ["jump", "seconds"];
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("clips").textContent);
  const clips = data.clips.map((row) => Object.fromEntries(FIELDS.map((name, place) => [name, row[place]])));
  clips.forEach((clip) => {
    clip.name = `${clip.split}/${clip.id}`;
    clip.text = `${clip.name} ${clip.label} ${clip.path} ${clip.problem} ${clip.note}`.toLowerCase();
  });
  const list = byId("list"), dialog = byId("large");
  let chosen = [], shown = 0, place = 0;

  const make = (name, text, kind) => {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 1 ? 1 : 0)}%`;

  const rate = (clip) => clip.rate === null ? "" : `${percent(clip.rate)} with face`;
  const figures = (clip) => {
    const facts = clip.label ? [[clip.label]] : [];
    if (clip.seconds !== null) facts.push([`${clip.seconds.toFixed(1)} s`]);
    if (clip.confidence !== null) {
      facts.push([`confidence ${clip.confidence.toFixed(2)}`], [`face ${clip.smallest.toFixed(0)} px`]);
      facts.push([`jump ${Math.round(100 * clip.jump)}%`, clip.jump >= data.jump ? "bad" : ""]);
    }
    return facts;
  };

  const picture = (clip, loading) => {
    const image = make("img");
    image.loading = loading;
    image.decoding = "async";
    image.alt = "";
    image.src = clip.sheet;
    image.addEventListener("error", () => image.replaceWith(make("span", `${clip.sheet} is missing`)));
    return image;
  };

  const card = (clip, at) => {
    const item = make("li"), button = make("button", "", "card"), facts = make("span", "", "facts");
    button.type = "button";
    if (clip.sheet) {
      const strip = make("span", "", "strip");
      strip.append(picture(clip, "lazy"));
      button.append(strip);
    }
    facts.append(make("b", clip.name), make("span", rate(clip), clip.rate === 1 ? "" : "bad"), make("i"),
      ...figures(clip).map(([text, kind]) => make("span", text, kind)));
    for (const why of [clip.problem, clip.note]) if (why) facts.append(make("span", why, "why"));
    button.append(facts);
    button.addEventListener("click", () => open(at));
    item.append(button);
    return item;
  };

  const more = (least = 0) => {
    const end = Math.min(chosen.length, Math.max(shown + AT_ONCE, least));
    const fresh = document.createDocumentFragment();
    for (; shown < end; shown++) fresh.append(card(chosen[shown], shown));
    list.append(fresh);
  };

  const SHOWN = {
    all: () => true,
    failed: (clip) => clip.problem,
    noted: (clip) => clip.note,
    faceless: (clip) => clip.rate === 0,
    gaps: (clip) => clip.rate !== null && clip.rate > 0 && clip.rate < 1,
  };
  const value = (name, other) => byId(name)?.value ?? other;
  const inOrder = new Intl.Collator(undefined, { numeric: true }).compare;

  const choose = () => {
    const words = value("find").toLowerCase().split(/\s+/).filter(Boolean);
    const split = value("split", "*"), label = value("label", "*"), by = value("sort");
    const turn = byId("reverse").getAttribute("aria-pressed") === "true" ? -1 : 1;
    const direction = turn * (FALLING.includes(by) ? -1 : 1);
    chosen = clips.filter((clip) => SHOWN[value("show")](clip) && (split === "*" || clip.split === split) &&
      (label === "*" || clip.label === label) && words.every((word) => clip.text.includes(word)));
    chosen.sort((a, b) => !a.problem - !b.problem || (by === "name" ? turn * inOrder(a.name, b.name)
      : (a[by] === null) - (b[by] === null) || direction * (a[by] - b[by]))); // stable: equal clips stay in order of rate and confidence
    byId("count").value = `${chosen.length.toLocaleString("en")} of ${clips.length.toLocaleString("en")}`;
    list.replaceChildren();
    shown = 0;
    more();
  };

  const open = (at) => {
    if (at < 0 || at >= chosen.length) return;
    place = at;
    const clip = chosen[at];
    byId("name").textContent = clip.name;
    const facts = clip.sheet ? [] : [rate(clip), ...figures(clip).map(([text]) => text), "no sheet drawn"];
    facts.push(clip.problem, clip.note, [data.root, clip.path].filter(Boolean).join("/"));
    byId("facts").textContent = facts.filter(Boolean).join(" · ");
    byId("sheet").replaceChildren(clip.sheet ? picture(clip, "eager") : "");
    byId("sheet").scrollLeft = 0;
    byId("previous").disabled = at === 0;
    byId("next").disabled = at === chosen.length - 1;
    if (!dialog.open) dialog.showModal();
    for (const near of [chosen[at + 1], chosen[at - 1]]) if (near?.sheet) new Image().src = near.sheet;
  };

  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -place, End: chosen.length - 1 - place }[event.key];
    if (step === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    open(place + step);
  });
  dialog.addEventListener("close", () => {
    if (place >= shown) more(place + 1);
    list.children[place]?.firstElementChild.focus(); // the list may be shorter by now
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  byId("close").addEventListener("click", () => dialog.close());
  byId("previous").addEventListener("click", () => open(place - 1));
  byId("next").addEventListener("click", () => open(place + 1));
  byId("reverse").addEventListener("click", (event) => {
    const on = event.currentTarget.getAttribute("aria-pressed") === "true";
    event.currentTarget.setAttribute("aria-pressed", String(!on));
    choose();
  });
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("controls").addEventListener("input", choose);
  const foot = make("div");
  list.after(foot);
  const watcher = new IntersectionObserver((seen) => {
    if (shown === chosen.length || !seen.some((each) => each.isIntersecting)) return;
    more();
    watcher.unobserve(foot); // so that it fires again if the end is still near
    watcher.observe(foot);
  }, { rootMargin: "1500px" });
  watcher.observe(foot);
  choose();
})();
