// The image and its mask, both at the model's size; what is painted is what is hidden, to the pixel.
// Value from the server: {size: [H, W], masking, megabytes, loaded, note, serial};
// value to it: the same with image and mask as data URLs of PNG files, or null.
const part = (name) => element.querySelector(`[data-part="${name}"]`);
const view = part("view"), file = part("file"), note = part("note"), hint = part("hint");
const paper = document.createElement("canvas"), cover = document.createElement("canvas");
const state = { size: [1, 1], masking: true, megabytes: 10, serial: 0 };
let tool = "mask", given = null, filled = false, painting = false, last = null, hover = null;
let examples = 0;

const pen = (canvas) => canvas.getContext("2d", { willReadFrequently: true });

function resize([height, width]) {
  state.size = [height, width];
  for (const canvas of [paper, cover]) { canvas.width = width; canvas.height = height; }
  filled = false; given = null;
}

function hidden() {
  return pen(cover).getImageData(0, 0, cover.width, cover.height).data;
}

function show() {
  const context = pen(view), scale = view.width / paper.width;
  context.imageSmoothingEnabled = false;
  context.clearRect(0, 0, view.width, view.height);
  if (filled) context.drawImage(paper, 0, 0, view.width, view.height);
  if (state.masking && filled) {
    const pixels = hidden();
    context.fillStyle = "rgba(255, 86, 48, 0.72)";
    for (let i = 0; i < pixels.length / 4; i++) {
      if (pixels[4 * i + 3]) {
        const x = i % cover.width, y = Math.floor(i / cover.width);
        context.fillRect(Math.floor(x * scale), Math.floor(y * scale), Math.ceil(scale), Math.ceil(scale));
      }
    }
  }
  if (hover && filled) {
    context.strokeStyle = "rgba(127, 127, 127, 0.9)";
    context.lineWidth = 2;
    context.beginPath();
    context.arc((hover[0] + 0.5) * scale, (hover[1] + 0.5) * scale, radius() * scale, 0, 7);
    context.stroke();
  }
  hint.hidden = filled;
}

const radius = () => Number(part("brush").value) / 2;

function dab(x, y) {
  const r = radius(), target = pen(tool === "draw" ? paper : cover);
  target.fillStyle = tool === "draw" ? part("colour").value : "#fff";
  for (let j = Math.ceil(y - r); j <= y + r; j++) {
    for (let i = Math.ceil(x - r); i <= x + r; i++) {
      if (Math.hypot(i - x, j - y) > r) continue;
      if (tool === "unmask") target.clearRect(i, j, 1, 1);
      else target.fillRect(i, j, 1, 1);
    }
  }
  if (tool === "draw") given = null;
}

function stroke(from, to) {
  const count = Math.max(1, Math.ceil(2 * Math.hypot(to[0] - from[0], to[1] - from[1])));
  for (let k = 0; k <= count; k++) {
    dab(from[0] + ((to[0] - from[0]) * k) / count, from[1] + ((to[1] - from[1]) * k) / count);
  }
}

function place(event) {
  const box = view.getBoundingClientRect();
  return [
    ((event.clientX - box.left) / box.width) * paper.width - 0.5,
    ((event.clientY - box.top) / box.height) * paper.height - 0.5,
  ];
}

function maskFile() {
  const opaque = document.createElement("canvas");
  opaque.width = cover.width; opaque.height = cover.height;
  const context = pen(opaque);
  context.fillRect(0, 0, opaque.width, opaque.height);
  context.drawImage(cover, 0, 0);
  return opaque.toDataURL("image/png");
}

function commit() {
  const image = filled ? given ?? paper.toDataURL("image/png") : null;
  props.value = JSON.stringify({ ...state, image, mask: state.masking ? maskFile() : null });
  show();
}

function say(text, wrong = false) {
  note.textContent = text;
  note.classList.toggle("error", wrong);
}

function choose(name) {
  tool = name;
  for (const button of element.querySelectorAll("[data-tool]")) {
    button.classList.toggle("on", button.dataset.tool === name);
  }
}

function clearMask() {
  pen(cover).clearRect(0, 0, cover.width, cover.height);
}

function blank() {
  const context = pen(paper);
  context.fillStyle = "#000";
  context.fillRect(0, 0, paper.width, paper.height);
  given = null; filled = true;
  choose("draw"); say("Draw on it; then choose a task."); commit();
}

function take(chosen) {
  if (!chosen) return;
  if (chosen.size > state.megabytes * 1e6) {
    const size = (chosen.size / 1e6).toFixed(1);
    return say(`the file has ${size} MB; give one of at most ${state.megabytes} MB`, true);
  }
  const reader = new FileReader();
  reader.onload = () => {
    say("reading ...");
    trigger("upload", { data: reader.result, serial: state.serial + 1 });
  };
  reader.readAsDataURL(chosen);
}

function load(url) {
  const picture = new Image();
  picture.onload = () => {
    pen(paper).drawImage(picture, 0, 0, paper.width, paper.height);
    given = url; filled = true;
    if (tool === "draw" && state.masking) choose("mask");
    clearMask(); commit();
  };
  picture.src = url;
}

function follow() {
  const told = JSON.parse(props.value || "{}");
  if (!told.size) return;
  const resized = told.size.join() !== state.size.join();
  if (resized) resize(told.size);
  state.masking = told.masking; state.megabytes = told.megabytes;
  element.querySelector(".easel").classList.toggle("unmasked", !state.masking);
  if (!state.masking && tool !== "draw") choose("draw");
  else if (state.masking && tool === "draw" && given) choose("mask");
  if (told.note !== undefined && told.serial !== state.serial) say(told.note, !told.loaded);
  const fresh = told.serial !== state.serial;
  state.serial = told.serial ?? state.serial;
  if (told.loaded && fresh) load(told.loaded);
  else commit();
}

const actions = {
  choose: () => file.click(),
  example: () => trigger("example", { index: examples++, serial: state.serial + 1 }),
  blank,
  clear: () => { clearMask(); commit(); },
};

element.addEventListener("click", (event) => {
  const { tool: name, do: action } = event.target.dataset;
  if (name) choose(name);
  if (action) actions[action]();
});
file.addEventListener("change", () => { take(file.files[0]); file.value = ""; });
view.addEventListener("pointerdown", (event) => {
  if (!filled) return say("give an image first, or press Blank to draw one", true);
  view.setPointerCapture(event.pointerId);
  painting = true; last = place(event);
  stroke(last, last); show(); event.preventDefault();
});
view.addEventListener("pointermove", (event) => {
  hover = place(event);
  if (painting) { stroke(last, hover); last = hover; }
  show();
});
view.addEventListener("pointerup", () => { if (painting) { painting = false; say(""); commit(); } });
view.addEventListener("pointerleave", () => { hover = null; show(); });
const frame = element.querySelector(".frame");
frame.addEventListener("dragover", (event) => { event.preventDefault(); });
frame.addEventListener("drop", (event) => { event.preventDefault(); take(event.dataTransfer.files[0]); });
watch("value", follow);
follow();
