// Draws each .figure from the JSON inside it, one at a time so that the page stays responsive, and shows the
// selected clip. report.css sets the colours of text and axes, so that they follow light, dark and print.
// Plotly is slow to start and therefore comes after this script: everything else works before it.
const narrow = window.matchMedia("(max-width: 30rem)").matches;
const base = {
  paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: false, hovermode: "closest",
  font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", size: 13 },
  margin: { l: 62, r: 12, t: 8, b: 44 },
  legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
};
const axis = { ticks: "outside", ticklen: 5, tickcolor: "rgba(0,0,0,0)", zeroline: false };
const layout = (own) => {
  const axes = Object.keys(own).filter((name) => /^[xy]axis/.test(name));
  return { ...base, ...own, ...Object.fromEntries(axes.map((name) => [name, { ...axis, ...own[name] }])) };
};
const config = {
  responsive: true, displaylogo: false, displayModeBar: narrow ? false : "hover", doubleClick: "reset",
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
};
const draw = (place) => {
  if (!window.Plotly || place.dataset.drawn || !place.clientWidth) return;
  place.dataset.drawn = "yes";
  const figure = JSON.parse(place.querySelector("script").textContent);
  place.replaceChildren();
  Plotly.newPlot(place, figure.data, layout(figure.layout), config);
};
const figures = [...document.querySelectorAll(".figure")];

document.querySelectorAll(".clips").forEach((clips) => {
  const panels = [...clips.querySelectorAll(".clip")];
  const rows = [...clips.querySelectorAll("tr[data-clip]")];
  const select = clips.querySelector("select");
  const pick = (number) => {
    panels.forEach((panel, i) => (panel.hidden = i !== number));
    rows.forEach((row) => row.classList.toggle("picked", Number(row.dataset.clip) === number));
    select.value = number;
    panels[number].querySelectorAll(".figure").forEach(draw);
  };
  rows.forEach((row) => {
    row.querySelector("button").addEventListener("click", () => {
      pick(Number(row.dataset.clip));
      clips.querySelector(".picker").scrollIntoView({ block: "start" });
    });
  });
  select.addEventListener("change", () => pick(Number(select.value)));
  clips.classList.add("live");
  pick(0);
});

const next = () => {
  const place = figures.find((one) => !one.dataset.drawn && one.clientWidth);
  if (place) { draw(place); setTimeout(next); } else document.documentElement.dataset.drawn = "yes";
};
window.addEventListener("load", () => setTimeout(next));
window.addEventListener("beforeprint", () => figures.forEach(draw));
