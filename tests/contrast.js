// Returns a line for each text, field edge or drawn mark whose contrast is below WCAG 2.2 AA.
(() => {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const read = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = context.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((part, i) => part * a + under[i] * (1 - a));
  const luminance = (colour) => {
    const [r, g, b] = colour.map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const chain = (element) => (element ? [...chain(element.parentElement), element] : []);
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.background = "Canvas";
  const paper = read(getComputedStyle(probe).backgroundColor).slice(0, 3);
  probe.remove();
  // What is painted behind the content of an element: the backgrounds from the page to it.
  const behind = (element) =>
    chain(element).reduce((under, each) => {
      const style = getComputedStyle(each);
      const [r, g, b, a] = read(style.backgroundColor);
      return over([r, g, b, a * Number(style.opacity)], under);
    }, paper);
  const opacity = (element) =>
    chain(element).reduce((product, each) => product * Number(getComputedStyle(each).opacity), 1);
  const seen = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 1 && box.height > 1 && element.checkVisibility({ visibilityProperty: true });
  };
  const faults = new Set();
  const hold = (element, part, colour, least, under = behind(element)) => {
    const [r, g, b, a] = read(colour);
    const shown = over([r, g, b, a * opacity(element)], under);
    const ratio = contrast(shown, under);
    if (ratio < least) {
      const name = [element.tagName.toLowerCase(), element.id && `#${element.id}`, element.getAttribute("class")];
      faults.add(`${name.filter(Boolean).join(" ")}: ${part} ${colour} on rgb(${under.map(Math.round)}) is ${ratio.toFixed(2)}, not ${least}`);
    }
  };
  const leastOf = (style) => {
    const size = parseFloat(style.fontSize);
    return size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
  };
  const hasText = (element) =>
    [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  for (const element of document.body.querySelectorAll("*")) {
    if (!seen(element) || element.closest(":disabled, script, style, title, option, noscript")) continue;
    const style = getComputedStyle(element);
    const drawn = element instanceof SVGElement;
    if (hasText(element)) hold(element, "text", drawn ? style.fill : style.color, leastOf(style));
    for (const pseudo of ["::before", "::after"]) {
      const made = getComputedStyle(element, pseudo);
      if (!["none", "normal", '""'].includes(made.content)) hold(element, pseudo, made.color, leastOf(made));
    }
    if (element.matches("input, select, textarea")) {
      hold(element, "text", style.color, leastOf(style));
      if (element.placeholder) {
        const hint = getComputedStyle(element, "::placeholder");
        hold(element, "placeholder", hint.color, leastOf(style));
      }
      if (!element.matches("[type=file]")) hold(element, "edge", style.borderTopColor, 3, behind(element.parentElement));
    }
    if (element.matches("button")) {
      const outside = behind(element.parentElement);
      if (contrast(behind(element), outside) > 1.05) hold(element, "face", style.backgroundColor, 3, outside);
    }
    if (element.matches(".legend i, .bar i, span.bar, .progress div")) {
      hold(element, "bar", style.backgroundColor, 3, behind(element.parentElement));
    }
    if (element.matches(".line, .dot, .mark:not(.head)")) hold(element, "stroke", style.stroke, 3);
    if (element.matches(".column, .mark.head, .bar .full")) {
      const track = element.parentElement.querySelector(".track");
      hold(element, "fill", style.fill, 3, track ? over(read(getComputedStyle(track).fill), behind(element)) : undefined);
    }
  }
  return [...faults];
})()
