(() => {
  const cards = [...document.querySelectorAll("details.scenario")];
  const form = document.getElementById("filters");
  const shown = document.getElementById("shown");
  const { text, tag } = form.elements;
  const boxes = [...form.querySelectorAll("input[type=checkbox]")];

  // A link can have filters in it: ?verdict=fail,invalid&tag=ipfix&text=dns
  function choose(query) {
    const verdicts = query.get("verdict")?.split(",");
    boxes.forEach((box) => (box.checked = !verdicts || verdicts.includes(box.value)));
    text.value = query.get("text") ?? "";
    tag.value = query.get("tag") ?? "";
  }

  function link() {
    const query = new URLSearchParams();
    if (boxes.some((box) => !box.checked)) {
      query.set("verdict", boxes.filter((box) => box.checked).map((box) => box.value));
    }
    if (tag.value) query.set("tag", tag.value);
    if (text.value) query.set("text", text.value);
    history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`);
  }

  function filter() {
    const verdicts = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const card of cards) {
      const { verdict, tags, text } = card.dataset;
      const fits =
        verdicts.has(verdict) &&
        (!tag.value || tags.split("\n").includes(tag.value)) &&
        words.every((word) => text.includes(word));
      card.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${cards.length} shown`;
  }

  // A link to a scenario opens it, also where the filters hide it.
  function follow() {
    const card = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!cards.includes(card)) return;
    if (card.hidden) {
      form.reset();
      filter();
    }
    card.open = true;
    card.scrollIntoView();
  }

  function filterAndLink() {
    filter();
    link();
  }

  form.addEventListener("input", filterAndLink);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filterAndLink));
  document.getElementById("open").addEventListener("click", () => {
    const visible = cards.filter((card) => !card.hidden);
    const open = visible.some((card) => !card.open);
    visible.forEach((card) => (card.open = open));
  });
  addEventListener("hashchange", follow);
  form.hidden = false;
  choose(new URLSearchParams(location.search));
  filter();
  follow();
})();
