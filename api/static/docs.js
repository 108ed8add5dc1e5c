// The API's description as a page. A file of its own: the content security policy allows no script in the HTML.

window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#operations",
  deepLinking: true,
  validatorUrl: null, // nothing is sent to another server
});
