"use strict";
const value = (row, column) => {
  const cell = row.cells[column];
  return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
};
// Cells without a value stay at the end whichever way a column is sorted.
const compare = (a, b, sign) => {
  if (a === "n/a" || b === "n/a") return (a === "n/a") - (b === "n/a");
  return sign * (typeof a === "number" && typeof b === "number" ? a - b
    : String(a).localeCompare(String(b), undefined, { numeric: true }));
};
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0];
    const falling = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const rows = [...body.rows].sort((a, b) =>
      compare(value(a, head.cellIndex), value(b, head.cellIndex), falling ? -1 : 1));
    body.append(...rows);
  });
}

const zoom = document.querySelector("dialog");
for (const image of document.querySelectorAll("figure img")) {
  image.addEventListener("click", () => {
    zoom.firstElementChild.src = image.src;
    zoom.firstElementChild.alt = image.alt;
    zoom.showModal();
  });
}
zoom.addEventListener("click", () => zoom.close());

const settings = JSON.parse(document.getElementById("settings").textContent);
const chosen = [...document.querySelectorAll("#differences select")];
const differences = () => {
  const [one, other] = chosen.map((select) => settings[select.value] || {});
  const keys = [...new Set([...Object.keys(one), ...Object.keys(other)])].sort();
  const body = document.querySelector("#differences tbody");
  body.replaceChildren(...keys.filter((key) => one[key] !== other[key]).map((key) => {
    const row = document.createElement("tr");
    for (const text of [key, one[key], other[key]]) {
      const cell = row.insertCell();
      cell.className = "text";
      cell.textContent = text === undefined ? "–" : text;
    }
    return row;
  }));
};
for (const select of chosen) select.addEventListener("change", differences);
if (chosen.length && chosen[1].options.length > 1) chosen[1].selectedIndex = 1;
if (chosen.length) differences();

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = getComputedStyle(root).getPropertyValue("color-scheme").trim() === "dark"
    || (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.theme = dark ? "light" : "dark";
});

const version = document.documentElement.dataset.version;
if (version) {
  setInterval(async () => {
    const now = await fetch("version").then((answer) => answer.text()).catch(() => version);
    if (now !== version) location.reload();
  }, 3000);
}
