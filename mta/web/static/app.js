// What the pages do better with JavaScript. Everything works without it.
"use strict";

const ROOT = document.documentElement;

// Times in the reader's zone; UTC stays readable on hover and for screen readers.
function showTimes(within) {
  for (const time of within.querySelectorAll("time[data-at]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime()) || time.dataset.shown) continue;
    const options = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
    if (time.dataset.at === "second") options.second = "2-digit";
    time.title = time.textContent.trim();
    time.textContent = new Intl.DateTimeFormat("sv-SE", options).format(at);
    time.dataset.shown = "yes";
  }
}

function color(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

// A chart is drawn from the table below it, which stays for those who cannot see it.
function drawCharts(within) {
  for (const figure of within.querySelectorAll("figure[data-chart]")) {
    const place = figure.querySelector(".plot");
    const table = figure.querySelector("table");
    if (!place || !table || typeof uPlot === "undefined") continue;
    const names = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent.trim()).slice(1);
    const rows = [...table.querySelectorAll("tbody tr")];
    figure.querySelector(".legend").hidden = rows.length < 2;
    if (rows.length < 2) { place.hidden = true; continue; }
    const xs = rows.map((row) => Date.parse(row.querySelector("time").dateTime) / 1000);
    const series = names.map((_, n) => rows.map((row) => Number(row.querySelectorAll("td")[n + 1].dataset.value)));
    place.replaceChildren();
    place.hidden = false;
    const ink = color("--muted"), line = color("--line");
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line }, font: "12px system-ui, sans-serif" };
    new uPlot({
      width: Math.max(place.clientWidth, 200), height: 200, legend: { show: false }, cursor: { show: true, points: { size: 6 } },
      scales: { y: { range: (_, min, max) => [0, Math.max(max * 1.1, 1)] } },
      axes: [{ ...axis, values: "{HH}:{mm}", space: 60, incrs: [60, 300, 600, 1800, 3600, 7200, 14400, 21600, 43200] }, { ...axis, size: 52, values: (_, all) => all.map((each) => each.toLocaleString("en")) }],
      series: [{}, ...names.map((name, n) => ({ label: name, stroke: color(`--series-${n + 1}`), width: 2, points: { show: false } }))],
    }, [xs, ...series], place);
  }
}

function copyButtons(within) {
  for (const button of within.querySelectorAll("button[data-copy]")) {
    if (button.dataset.ready) continue;
    button.dataset.ready = "yes";
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      const before = button.textContent;
      button.textContent = button.dataset.done;
      setTimeout(() => { button.textContent = before; }, 2000);
    });
  }
}

// A form is sent once, however often its button is pressed, which shows that it works.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented) return;
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = "yes";
  event.submitter?.setAttribute("aria-busy", "true");
  setTimeout(() => ready(form), 30000);
});

function ready(form) {
  delete form.dataset.sent;
  form.querySelector("[aria-busy]")?.removeAttribute("aria-busy");
}

addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach(ready));

// Lists that choose how they are shown, when another entry is chosen.
document.addEventListener("change", (event) => {
  if (event.target.matches("select[data-auto]")) event.target.form.requestSubmit();
});

function improve(within) {
  showTimes(within);
  drawCharts(within);
  copyButtons(within);
}

improve(document);
document.addEventListener("htmx:after:swap", () => improve(document));
let resizing;
addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(() => drawCharts(document), 200); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawCharts(document));

// Passkeys (WebAuthn). The server gives options as JSON and gets the answer as JSON.
async function post(url, value) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": ROOT.dataset.csrf || "" },
    body: JSON.stringify(value),
  });
  const answer = await response.json().catch(() => ({ error: "the server did not answer as expected" }));
  if (!response.ok) throw new Error(answer.error || response.statusText);
  return answer;
}

function passkeys() {
  const login = document.querySelector("[data-passkey-login]");
  const add = document.querySelector("[data-passkey-add]");
  for (const place of [login, add]) {
    if (!place) continue;
    if (!window.PublicKeyCredential || !PublicKeyCredential.parseRequestOptionsFromJSON) continue;
    place.hidden = false;
    const says = place.querySelector("[role=status]");
    place.querySelector("button").addEventListener("click", async (event) => {
      event.preventDefault();
      says.textContent = "";
      try {
        const begun = await post(place.dataset.begin, {});
        const answer = place === login
          ? await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(begun) })
          : await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(begun) });
        const name = place.querySelector("input")?.value || "";
        const done = await post(place.dataset.finish, { name, credential: answer.toJSON() });
        location.assign(done.next);
      } catch (error) {
        says.textContent = error.name === "NotAllowedError" ? "The passkey was not used: cancelled, or no passkey of this site is on this device." : error.message;
      }
    });
  }
}
passkeys();
