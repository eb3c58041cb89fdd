"use strict";

// Of a schedule's form, only the fields of the chosen kind are shown; without a script all of them are.
const FIELDS_OF_KIND = {
  interval: ["every", "period"],
  crontab: ["cron", "cron_zone"],
  clocked: ["clocked_at"],
  solar: ["event", "latitude", "longitude"],
};

function showKind(chosen) {
  for (const [kind, names] of Object.entries(FIELDS_OF_KIND)) {
    for (const name of names) {
      const field = document.getElementById(`id_${name}`);
      const row = field && (field.closest(".form-row") || field.closest(".field-row"));
      if (row) {
        row.hidden = kind !== chosen;
        row.classList.toggle("sy-hidden", kind !== chosen);
      }
    }
  }
}

document.addEventListener("DOMContentLoaded", () => {
  const select = document.getElementById("id_kind");
  if (select) {
    showKind(select.value);
    select.addEventListener("change", () => showKind(select.value));
  }
});
