"use strict";

// A job's page follows the job while it is unfinished, and is loaded again when its state changes.
const FIRST_WAIT_MS = 1500;
const LONGEST_WAIT_MS = 15000;

function showProgress(section, status) {
  const live = section.querySelector("[data-live]");
  live.hidden = status.progress === null;
  live.querySelector("progress").value = status.progress || 0;
  live.querySelector("[data-progress-text]").textContent =
    `${status.progress || 0} %` + (status.note ? ` · ${status.note}` : "");
}

async function follow(section, wait) {
  await new Promise((resolve) => setTimeout(resolve, wait));
  if (document.hidden) {
    return follow(section, wait);
  }
  try {
    const answer = await fetch(section.dataset.statusUrl, { headers: { Accept: "application/json" } });
    if (!answer.ok || answer.redirected) {
      return undefined;
    }
    const status = await answer.json();
    if (status.state !== section.dataset.state || String(status.attempt) !== section.dataset.attempt) {
      window.location.reload();
      return undefined;
    }
    showProgress(section, status);
    return follow(section, status.state === "running" ? FIRST_WAIT_MS : Math.min(wait * 1.3, LONGEST_WAIT_MS));
  } catch (error) {
    return follow(section, LONGEST_WAIT_MS); // the server may be restarting
  }
}

document.addEventListener("DOMContentLoaded", () => {
  const section = document.getElementById("job-status");
  if (section && section.dataset.finished === "no") {
    follow(section, FIRST_WAIT_MS);
  }
  // Unfold names these by a placeholder or not at all.
  document.getElementById("searchbar")?.setAttribute("aria-label", "Search this list");
  document.getElementById("searchbar-submit")?.setAttribute("aria-label", "Search");
  document.querySelector("select[name=action]")?.setAttribute("aria-label", "Action on the chosen rows");
  for (const select of document.querySelectorAll("select[data-submit-on-change]")) {
    select.addEventListener("change", () => select.form.submit());
  }
  for (const input of document.querySelectorAll("input[data-select-on-focus]")) {
    input.addEventListener("focus", () => input.select());
  }
});
