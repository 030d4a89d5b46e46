// The search of the API reference. Without it everything is there, only unfiltered.
(() => {
  const input = document.getElementById("search");
  const found = document.getElementById("found");
  const nothing = document.getElementById("nothing");
  const entries = [...document.querySelectorAll("[data-operation]")];
  const chapters = [...document.querySelectorAll("section.chapter:not([aria-labelledby=start]), nav.side > ul > li:has(li)")];

  const search = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const entry of entries) {
      entry.hidden = !words.every((word) => entry.dataset.operation.includes(word));
      if (!entry.hidden && entry.tagName === "DETAILS") count += 1;
    }
    for (const chapter of chapters) chapter.hidden = words.length > 0 && !chapter.querySelector("[data-operation]:not([hidden])");
    found.textContent = words.length ? `${count} found` : "";
    nothing.hidden = !words.length || count > 0;
  };

  // An operation that is linked to is opened.
  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) target.open = true;
  };

  document.querySelector(".search").hidden = false;
  input.addEventListener("input", search);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      input.focus();
    }
  });
  addEventListener("hashchange", open);
  open();
  search();
})();
