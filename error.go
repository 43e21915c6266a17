package twinhub

import (
	"errors"
	"fmt"
)

// A Code is a machine-readable error number. Its first three digits are the HTTP status.
// Reference: IoT Hub, "Troubleshoot error codes".
type Code int

// The codes the hub answers with.
const (
	CodeGenericBadRequest                         Code = 400000
	CodeInvalidProtocolVersion                    Code = 400001
	CodeInvalidOperation                          Code = 400003
	CodeArgumentInvalid                           Code = 400004
	CodeArgumentNull                              Code = 400005
	CodeIotHubFormatError                         Code = 400006
	CodeConnectionForcefullyClosedOnNewConnection Code = 400027
	CodeInvalidDeviceScope                        Code = 400028
	CodeBulkRegistryOperationFailure              Code = 400013
	CodeInvalidDigitalTwinJsonPatch               Code = 400505
	CodeInvalidDigitalTwinPayload                 Code = 400506
	CodeInvalidDigitalTwinPatch                   Code = 400507
	CodeInvalidDigitalTwinPatchPath               Code = 400508
	CodeIotHubUnauthorizedAccess                  Code = 401002
	CodeIotHubUnauthorized                        Code = 401003
	CodeDeviceDisabled                            Code = 403012
	CodeDeviceMaximumInflightMethodExceeded       Code = 403800
	CodeGenericNotFound                           Code = 404000
	CodeDeviceNotFound                            Code = 404001
	CodeJobNotFound                               Code = 404002
	CodeModuleNotFound                            Code = 404010
	CodeDeviceNotOnline                           Code = 404103
	CodeDeviceConnectionClosedRemotely            Code = 404104
	CodeGenericMethodNotAllowed                   Code = 405000
	CodeDeviceAlreadyExists                       Code = 409001
	CodeModuleAlreadyExistsOnDevice               Code = 409301
	CodePreconditionFailed                        Code = 412001
	CodeMessageTooLarge                           Code = 413001
	CodeGenericUnsupportedMediaType               Code = 415000
	CodeThrottlingException                       Code = 429001
	CodeServerError                               Code = 500001
	CodeServiceUnavailable                        Code = 503001
	CodeGatewayTimeout                            Code = 504101
)

// codeNames holds the symbolic name of each code, as clients compare it.
var codeNames = map[Code]string{
	CodeGenericBadRequest:                         "GenericBadRequest",
	CodeInvalidProtocolVersion:                    "InvalidProtocolVersion",
	CodeInvalidOperation:                          "InvalidOperation",
	CodeArgumentInvalid:                           "ArgumentInvalid",
	CodeArgumentNull:                              "ArgumentNull",
	CodeIotHubFormatError:                         "IotHubFormatError",
	CodeConnectionForcefullyClosedOnNewConnection: "ConnectionForcefullyClosedOnNewConnection",
	CodeInvalidDeviceScope:                        "InvalidDeviceScope",
	CodeBulkRegistryOperationFailure:              "BulkRegistryOperationFailure",
	CodeInvalidDigitalTwinJsonPatch:               "InvalidDigitalTwinJsonPatch",
	CodeInvalidDigitalTwinPayload:                 "InvalidDigitalTwinPayload",
	CodeInvalidDigitalTwinPatch:                   "InvalidDigitalTwinPatch",
	CodeInvalidDigitalTwinPatchPath:               "InvalidDigitalTwinPatchPath",
	CodeIotHubUnauthorizedAccess:                  "IotHubUnauthorizedAccess",
	CodeIotHubUnauthorized:                        "IotHubUnauthorized",
	CodeDeviceDisabled:                            "DeviceDisabled",
	CodeDeviceMaximumInflightMethodExceeded:       "DeviceMaximumInflightMethodExceeded",
	CodeGenericNotFound:                           "GenericNotFound",
	CodeDeviceNotFound:                            "DeviceNotFound",
	CodeJobNotFound:                               "JobNotFound",
	CodeModuleNotFound:                            "ModuleNotFound",
	CodeDeviceNotOnline:                           "DeviceNotOnline",
	CodeDeviceConnectionClosedRemotely:            "DeviceConnectionClosedRemotely",
	CodeGenericMethodNotAllowed:                   "GenericMethodNotAllowed",
	CodeDeviceAlreadyExists:                       "DeviceAlreadyExists",
	CodeModuleAlreadyExistsOnDevice:               "ModuleAlreadyExistsOnDevice",
	CodePreconditionFailed:                        "PreconditionFailed",
	CodeMessageTooLarge:                           "MessageTooLarge",
	CodeGenericUnsupportedMediaType:               "GenericUnsupportedMediaType",
	CodeThrottlingException:                       "ThrottlingException",
	CodeServerError:                               "ServerError",
	CodeServiceUnavailable:                        "ServiceUnavailable",
	CodeGatewayTimeout:                            "GatewayTimeout",
}

// Status returns the HTTP status of c.
func (c Code) Status() int { return int(c) / 1000 }

// String returns the symbolic name of c, such as "DeviceNotFound".
func (c Code) String() string {
	if name, ok := codeNames[c]; ok {
		return name
	}
	return fmt.Sprintf("Code%d", int(c))
}

// An Error is fit to show a client: a code for machines, a text for people. Errors of any other type are the hub's
// own and reach a client only as CodeServerError.
type Error struct {
	Code    Code
	Message string
	// Timeout, as hh:mm:ss, is the connect time-out that a DeviceNotOnline error reports; empty otherwise.
	Timeout string
}

// Errorf makes an Error.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%d %s: %s", int(e.Code), e.Code, e.Message) }

// AsError returns the Error that err is or wraps; nil stays nil, and anything else becomes CodeServerError with a
// text that tells the client nothing of the hub's inside.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeServerError, Message: "The hub could not complete the request; its log has the cause."}
}

// HasCode reports whether err is or wraps an Error with the code.
func HasCode(err error, code Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}
