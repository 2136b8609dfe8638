"use strict";
// The picture is complete without this: here it is zoomed, dragged and explained.
const picture = document.getElementById("picture");
const detail = document.getElementById("detail");
const cursor = document.getElementById("cursor");
const ticks = document.getElementById("ticks");
const width = Number(picture.dataset.width);
const left = Number(picture.dataset.left);
const end = Number(picture.dataset.end);
const SVG = "http://www.w3.org/2000/svg";
let zoom = 1;
let shift = 0;
// The moment that the cursor is at.
let pointed = null;

function place(element) {
  element.setAttribute("transform", `translate(${Number(element.dataset.x) * zoom + shift} 0)`);
}

function seconds(micros, digits) {
  return `${(micros / 1e6).toFixed(digits)} s`;
}

// Of labels that would stand on one another, the first stays.
function declutter(lane) {
  let row = null;
  let taken = 0;
  for (const label of lane.querySelectorAll("text.l")) {
    const y = label.getAttribute("y");
    const x = Number(label.parentNode.dataset.x) * zoom + shift;
    const length = label.textContent.length * 5.7 + 2 + Math.abs(Number(label.getAttribute("x")));
    const from = label.classList.contains("left") ? x - length : x;
    if (y !== row) { row = y; taken = -Infinity; }
    const isHidden = taken > from;
    label.classList.toggle("off", isHidden);
    if (!isHidden) { taken = from + length; }
  }
}

function drawTicks() {
  const shown = end / zoom;
  const powers = [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11];
  const steps = powers.flatMap((power) => [power, 2 * power, 5 * power]);
  const step = steps.find((one) => 22 >= shown / one) || end;
  const digits = Math.max(0, Math.ceil(6 - Math.log10(step) - 1e-9));
  const height = picture.viewBox.baseVal.height;
  ticks.replaceChildren();
  const from = Math.floor(-shift / zoom / width * end / step) * step;
  for (let at = Math.max(0, from); from + shown + 2 * step >= at ? end >= at : false; at += step) {
    const tick = document.createElementNS(SVG, "g");
    tick.dataset.x = String(at / end * width);
    const line = document.createElementNS(SVG, "line");
    const text = document.createElementNS(SVG, "text");
    line.setAttribute("class", "tick");
    line.setAttribute("y1", "32");
    line.setAttribute("y2", String(height));
    text.setAttribute("class", "tick");
    text.setAttribute("x", "3");
    text.setAttribute("y", "39");
    text.textContent = seconds(at, digits);
    tick.append(line, text);
    ticks.append(tick);
    place(tick);
  }
}

function show() {
  zoom = Math.min(Math.max(zoom, 1), 4000);
  shift = Math.min(0, Math.max(shift, width * (1 - zoom)));
  drawTicks();
  picture.querySelectorAll(".z").forEach((shapes) => {
    shapes.setAttribute("transform", `translate(${shift} 0) scale(${zoom} 1)`);
  });
  picture.querySelectorAll("[data-x]").forEach(place);
  picture.querySelectorAll(".lane").forEach(declutter);
  showCursor();
}

function zoomBy(factor, x) {
  const before = zoom;
  zoom = Math.min(Math.max(zoom * factor, 1), 4000);
  shift = x - (x - shift) * zoom / before;
  show();
}

// Where an event is, in the picture's own pixels from the axis' start.
function xOf(event) {
  const box = picture.getBoundingClientRect();
  return (event.clientX - box.left) * picture.viewBox.baseVal.width / box.width - left;
}

function pointTo(x) {
  pointed = (x - shift) / zoom / width * end;
  showCursor();
}

function showCursor() {
  if (pointed === null) { return; }
  const x = pointed / end * width * zoom + shift;
  const isShown = [pointed, x, end - pointed, width - x].every((distance) => distance >= -1e-6);
  cursor.style.display = isShown ? "inline" : "none";
  cursor.setAttribute("transform", `translate(${x} 0)`);
  const text = cursor.querySelector("text");
  const isRight = x > width * 0.9;
  text.setAttribute("x", isRight ? "-4" : "4");
  text.setAttribute("text-anchor", isRight ? "end" : "start");
  text.textContent = seconds(pointed, 3);
}

function goTo(micros, factor) {
  zoom = factor;
  shift = width / 2 - micros / end * width * zoom;
  pointed = micros;
  show();
}

picture.addEventListener("wheel", (event) => {
  // All of it is shown: the wheel scrolls the page.
  if (event.deltaY > 0 ? zoom === 1 : false) { return; }
  event.preventDefault();
  zoomBy(Math.exp(-event.deltaY / 300), xOf(event));
}, { passive: false });

let dragged = null;
picture.addEventListener("pointerdown", (event) => {
  dragged = { x: xOf(event), shift };
  picture.setPointerCapture(event.pointerId);
  picture.classList.add("dragged");
});
picture.addEventListener("pointerup", () => {
  dragged = null;
  picture.classList.remove("dragged");
});
picture.addEventListener("pointermove", (event) => {
  if (dragged) {
    shift = dragged.shift + xOf(event) - dragged.x;
    show();
  }
  pointTo(xOf(event));
});
picture.addEventListener("pointerover", (event) => {
  let element = event.target;
  while (element !== picture) {
    const title = Array.from(element.children).find((child) => child.localName === "title");
    if (title) {
      detail.textContent = title.textContent;
      return;
    }
    element = element.parentNode;
    if (!element) { return; }
  }
});
picture.addEventListener("dblclick", (event) => zoomBy(3, xOf(event)));

document.querySelectorAll("pre [data-at]").forEach((line) => {
  line.addEventListener("click", () => {
    goTo(Number(line.dataset.at), Math.max(zoom, 4));
    picture.scrollIntoView({ block: "nearest" });
  });
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) { return; }
  const broken = picture.querySelector(".violation.first");
  const keys = {
    "+": () => zoomBy(1.5, width / 2),
    "=": () => zoomBy(1.5, width / 2),
    "-": () => zoomBy(1 / 1.5, width / 2),
    "0": () => { zoom = 1; shift = 0; show(); },
    ArrowLeft: () => { shift += width / 8; show(); },
    ArrowRight: () => { shift -= width / 8; show(); },
    v: () => { if (broken) { goTo(Number(broken.dataset.x) / width * end, 12); } },
  };
  if (keys[event.key]) {
    keys[event.key]();
    event.preventDefault();
  }
});
