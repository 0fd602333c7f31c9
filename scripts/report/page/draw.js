// Draw all plots and let the selectors change them.
//
// body[data-drawn] holds the number of drawn plots when all are done, body[data-errors] what went wrong, as JSON.
// A selector starts with the value that the page's address names: report.html?<panel>.<selector>=<value>.
(function () {
  "use strict";
  var PAPER_WIDTH_PX = 825;  // A4 within its margins, at the zoom of the print style
  var printing = false;
  var wanted = new URLSearchParams(location.search);
  var coarse = window.matchMedia("(pointer: coarse)").matches;
  var config = {
    displaylogo: false, scrollZoom: false, doubleClick: "reset", displayModeBar: !coarse,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]], toImageButtonOptions: {scale: 2}
  };

  function all(selector, root) { return Array.prototype.slice.call((root || document).querySelectorAll(selector)); }

  function lookUp(store, template, state) {
    var key = template.replace(/\{(\w+)\}/g, function (_, name) { return state[name]; });
    return Object.prototype.hasOwnProperty.call(store, key) ? store[key] : null;
  }

  function put(target, path, value) {
    var steps = path.split("."), last = steps.pop();
    steps.forEach(function (step) {
      if (target[step] === undefined) { target[step] = {}; }
      target = target[step];
    });
    target[last] = value;
  }

  // A trace that lacks one of its coordinates in this state is not shown.
  function fill(plot, store, state) {
    var whole = {};
    plot.shown = plot.shown || plot.data.map(function (trace) { return trace.visible || true; });
    Object.keys(plot.binds).forEach(function (path) {
      var value = lookUp(store, plot.binds[path], state), steps = path.split(".");
      if (steps[0] === "data" && ["x", "y", "z"].indexOf(steps[2]) >= 0) {
        whole[steps[1]] = whole[steps[1]] !== false && value !== null;
      }
      put(plot, path, value);
    });
    Object.keys(whole).forEach(function (trace) { plot.data[trace].visible = whole[trace] && plot.shown[trace]; });
    plot.layout.datarevision = (plot.layout.datarevision || 0) + 1;
    if (coarse) { plot.layout.dragmode = false; }
    plot.layout.template.layout.legend.maxheight = 1;  // whole also on a phone (not known to all plotly.py)
  }

  function Panel(element) {
    var record = JSON.parse(element.querySelector("script[type='application/json']").textContent);
    var selects = all("select", element), divs = all(".plot", element);
    selects.forEach(function (select) {
      var value = wanted.get(element.id + "." + select.name);
      if (value !== null && all("option", select).some(function (o) { return o.value === value; })) {
        select.value = value;
      }
    });
    function state() {
      var now = {};
      selects.forEach(function (select) { now[select.name] = select.value; });
      return now;
    }
    function draw(i) {
      fill(record.plots[i], record.store, state());
      return Plotly.react(divs[i], record.plots[i].data, record.plots[i].layout, config);
    }
    selects.forEach(function (select) {
      select.addEventListener("change", function () { divs.forEach(function (_, i) { draw(i); }); });
    });
    // A plot follows its place: a window that is turned or made narrower, and one that opens narrow.
    divs.forEach(function (div) {
      new ResizeObserver(function () { if (div.data && !printing) { Plotly.Plots.resize(div); } }).observe(div);
    });
    return divs.map(function (_, i) { return function () { return draw(i); }; });
  }

  function pause() { return new Promise(function (resolve) { setTimeout(resolve, 0); }); }

  function done() {
    document.body.dataset.drawn = String(all(".js-plotly-plot .main-svg .plot, .js-plotly-plot .main-svg .infolayer")
      .map(function (part) { return part.closest(".js-plotly-plot"); })
      .filter(function (div, i, list) { return list.indexOf(div) === i; }).length);
    document.body.dataset.errors = JSON.stringify(reportErrors);
  }

  var jobs = [];
  all("section.panel").forEach(function (element) {
    if (element.querySelector("script")) { jobs = jobs.concat(Panel(element)); }
  });
  jobs.reduce(function (before, job) { return before.then(job).then(pause); }, Promise.resolve())
    .catch(function (error) { reportErrors.push(String(error)); })
    .then(done);

  function widths(value) {
    printing = value !== null;
    all(".js-plotly-plot").forEach(function (div) { Plotly.relayout(div, {autosize: !value, width: value}); });
  }
  window.addEventListener("beforeprint", function () { widths(PAPER_WIDTH_PX); });
  window.addEventListener("afterprint", function () { widths(null); });
})();
