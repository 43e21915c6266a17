package httpfront

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/twinhub/twinhub"
	"github.com/twinhub/twinhub/internal/core/auth"
)

// Admission
//
// Form: header Authorization: SharedAccessSignature sr=...&sig=...&se=...&skn=policy, and query parameter api-version.
// Behaviour: the token must cover the decoded path and its policy have the operation's right, else 401 with code
// 401002 in shape C, whatever was wrong; the log says what. Then the api-version must be a known one, else 400001; it
// changes nothing else.
// Departures: tokens of Microsoft Entra ID are not taken. Every operation is served under every api-version.
// Reference: IoT Hub, "Control access to IoT Hub by using shared access signatures".

// versions are the api-versions that the hub accepts: those of released clients and tools.
var versions = [...]string{
	"2016-02-03", "2016-11-14", "2017-06-30", "2017-11-08-preview", "2018-04-01", "2018-06-30", "2019-03-30", "2019-07-01-preview",
	"2019-10-01", "2020-03-01", "2020-03-13", "2020-05-31-preview", "2020-09-30", "2021-04-12", "2024-03-31",
}

// newestCommon is the api-version that errors tell clients to send.
const newestCommon = "2021-04-12"

// authorize checks that the caller may use the right on the request's path.
func (f *Front) authorize(r *request, right auth.Rights) error {
	_, err := f.auth.Service(r.Header.Get("Authorization"), r.path, right)
	var denial *auth.Denial
	if errors.As(err, &denial) {
		f.refusals.Deny("https", denial, "remote", r.RemoteAddr, "subject", denial.Subject, "method", r.Method, "path", r.path)
		return twinhub.Errorf(twinhub.CodeIotHubUnauthorizedAccess, "Unauthorized")
	}
	if err != nil {
		return fmt.Errorf("authorize: %w", err)
	}
	return nil
}

// checkVersion checks the api-version of a request.
func (f *Front) checkVersion(r *request, values url.Values) error {
	version := parameter(values, "api-version")
	if slices.Contains(versions[:], strings.ToLower(version)) {
		return nil
	}
	reason := fmt.Sprintf("the api-version %.20q is unknown", version)
	if version == "" {
		reason = "the request has no api-version"
	}
	f.refusals.Log("https", reason, "send api-version="+newestCommon, "remote", r.RemoteAddr, "method", r.Method, "path", r.path)
	return twinhub.Errorf(twinhub.CodeInvalidProtocolVersion, "Send the query parameter api-version=%s: %s. Known versions: %s.",
		newestCommon, reason, strings.Join(versions[:], ", "))
}
