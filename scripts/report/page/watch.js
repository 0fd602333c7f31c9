// Stands before everything else, so that nothing goes wrong unseen: body[data-errors] tells it at the end.
window.reportErrors = [];
window.addEventListener("error", function (event) { reportErrors.push(String(event.message)); });
window.addEventListener("unhandledrejection", function (event) { reportErrors.push(String(event.reason)); });
document.addEventListener("securitypolicyviolation", function (event) {
  reportErrors.push("blocked: " + event.blockedURI);
});
(function (log) {
  console.error = function () {
    reportErrors.push(Array.prototype.join.call(arguments, " "));
    log.apply(console, arguments);
  };
})(console.error);
