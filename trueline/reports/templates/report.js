(() => {
  "use strict";
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figures");
  const themes = read("themes");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const options = { displayModeBar: false, responsive: true, showTips: false };

  const paint = (value, table) => {
    if (typeof value === "string") return Object.hasOwn(table, value) ? table[value] : value;
    if (Array.isArray(value)) return value.map((item) => paint(item, table));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, paint(item, table)]));
  };

  const draw = (theme, paper) => {
    for (const [id, figure] of Object.entries(figures)) {
      const place = document.getElementById(id);
      const { data, layout } = paint(figure, themes[theme]);
      if (paper) Object.assign(layout, { ...paper, autosize: false });
      try {
        Plotly.react(place, data, layout, options);
      } catch (error) {
        place.textContent = `This plot could not be drawn (${error.message}); its numbers are below.`;
      }
    }
  };

  const screen = () => draw(dark.matches ? "dark" : "light");
  screen();
  dark.addEventListener("change", screen);
  window.addEventListener("beforeprint", () => draw("light", { width: 620, height: 270 }));
  window.addEventListener("afterprint", screen);
})();
